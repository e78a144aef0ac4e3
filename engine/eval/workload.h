// Which documents an evaluation is made of, and what is asked about each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace slimfill::eval {

struct Question {
  std::string kind;
  uint64_t seed = 0;
};

struct DocumentSpec {
  int64_t tokens = 0;
  std::vector<Question> questions;  // one at least

  bool is_shared() const { return questions.size() > 1; }
};

// What makes the document the one it is: "needle/4096/3", or "shared/4096/3/" with a hash of its questions.
std::string DocumentName(const DocumentSpec& document);
// The document's name, for shared ones with kind and seed behind it.
std::string CaseName(const DocumentSpec& document, const Question& question);

struct Workload {
  std::vector<int64_t> lengths;  // tokens
  int cases = 1;                 // of each kind and length
  std::vector<std::string> kinds;
  uint64_t seed = 1;  // of the first case
  int shared = 1;     // questions that may share a document
};

// All kinds in turn, so that a run that is stopped early has seen all of them. With `shared`, a question goes into the
// document that is being filled for its ground (prose, code, a table; a continuation has its own), which stands where
// its first question would.
std::vector<DocumentSpec> PlanDocuments(const Workload& workload);

}  // namespace slimfill::eval
