// Real text and code that every Debian 12 machine with Python has, as material for documents.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace slimfill::eval {

// The two halves share no document, and no longer paragraph of prose: what was calibrated on one is judged on the
// other.
enum class Split { kCalibration, kHeldOut };

struct SourceText {
  std::string name;  // the same for every version of Python or Perl
  std::string text;  // valid UTF-8; lines end in \n
};

// Where to look. Folders that are missing only make the corpus smaller.
struct CorpusRoots {
  std::string licences = "/usr/share/common-licenses";
  std::string python_parent = "/usr/lib";  // holds python3.*
  std::vector<std::string> perl = {"/usr/share/perl", "/usr/lib/x86_64-linux-gnu/perl"};
};

// Immutable and thread safe.
class Corpus {
 public:
  // FAILED_PRECONDITION naming what is missing when there is too little to make documents of.
  static absl::StatusOr<Corpus> Load(Split split, const CorpusRoots& roots = {});

  Split split() const { return split_; }
  // Documentation and licences; near copies of another text are left out.
  const std::vector<SourceText>& prose() const { return prose_; }
  // The same without licences, for what must not contradict one.
  const std::vector<SourceText>& documentation() const { return documentation_; }
  // All licences of this half, near copies too, named as their files are.
  const std::vector<SourceText>& licences() const { return licences_; }
  // Python modules.
  const std::vector<SourceText>& code() const { return code_; }
  // Of all names and texts: cases are the same where this is.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  Split split_ = Split::kHeldOut;
  std::vector<SourceText> prose_, documentation_, licences_, code_;
  uint64_t fingerprint_ = 0;
};

}  // namespace slimfill::eval
