// The document of one draft, or of several.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/eval/kinds.h"

namespace slimfill::eval {

// Puts the facts of all drafts into one document of `tokens` tokens between `filler`, and sets `document` and
// `evidence` of each draft's case. Fails as ComposeDocument does.
absl::Status ComposeDrafts(const Corpus& corpus, const engine::Tokenizer& tokenizer, Filler filler, int64_t tokens,
                           Rng& rng, absl::Span<Draft> drafts);

// Whether what is asked is clear in the draft's document: what must stand there once does, and for `unique_answer`
// what is accepted stands in the evidence only, and not in the question.
bool IsClear(const Draft& draft, bool unique_answer);

}  // namespace slimfill::eval
