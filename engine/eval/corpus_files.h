// The files a corpus is made of, read and cleaned, before they are split in halves.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/eval/corpus.h"

namespace slimfill::eval {

// All in the order of their names.
struct CorpusFiles {
  std::vector<SourceText> licences;       // GPL-3, ...: each text once
  std::vector<SourceText> documentation;  // topic/..., docstrings/json/decoder.py, pod/...
  std::vector<SourceText> code;           // json/decoder.py
};

absl::StatusOr<CorpusFiles> ReadCorpusFiles(const CorpusRoots& roots);

}  // namespace slimfill::eval
