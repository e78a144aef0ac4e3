// Seeded long-context cases, in the manner of RULER and LongBench.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/eval/corpus.h"
#include "engine/eval/task.h"
#include "engine/eval/workload.h"
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

// The cases of a document: MakeCase's for one question, else a case for each question over one document that holds the
// passages of all, so that what is planted for one distracts from the others. The same promises; INVALID_ARGUMENT too
// when the document has no room for so many, or for kinds that cannot share one (see PlanDocuments).
absl::StatusOr<std::vector<EvalCase>> MakeCases(const Corpus& corpus, const engine::Tokenizer& tokenizer,
                                                const DocumentSpec& document, bool question_first);

}  // namespace slimfill::eval
