// Seeded long-context cases, in the manner of RULER and LongBench.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/eval/corpus.h"
#include "engine/eval/task.h"
#include "engine/model/tokenizer.h"

namespace slimfill::eval {

// needle, multikey, multivalue, variables, keyvalue, code, multihop, aggregate, realqa: something is looked up.
// summary_control, continuation: nothing is.
const std::vector<std::string>& TaskKinds();

// A case with a document of about `tokens` tokens (within 2 %; at least 512). It depends on the arguments and the files
// behind `corpus` only, not on the machine; with `question_first` the document is the same and the question worded for
// its place. INVALID_ARGUMENT for an unknown kind, too few tokens, or more than the corpus holds.
absl::StatusOr<EvalCase> MakeCase(const Corpus& corpus, const engine::Tokenizer& tokenizer, absl::string_view kind,
                                  int64_t tokens, uint64_t seed, bool question_first);

}  // namespace slimfill::eval
