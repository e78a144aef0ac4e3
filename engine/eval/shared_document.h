// One document with several questions.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "engine/eval/kinds.h"
#include "engine/eval/workload.h"

namespace slimfill::eval {

// A draft for each of `document`'s questions, all with the same document, every one clear in it. INVALID_ARGUMENT when
// their kinds cannot share a document or there is no room for so many.
absl::StatusOr<std::vector<Draft>> DraftSharedDocument(const Corpus& corpus, const engine::Tokenizer& tokenizer,
                                                       const DocumentSpec& document);

}  // namespace slimfill::eval
