// The prompt of the speed benchmarks: a question about a long document, of exactly as many tokens as asked for.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"

namespace slimfill::engine {

struct BenchPrompt {
  std::vector<TokenId> tokens;
  std::pair<int64_t, int64_t> content;  // token range of the user's message: document, then question
};

// The document, repeated or cut, with a line to look up at `depth` (0 to 1) of it, in the model's chat template. Every
// `question` is another one about the same document, token for token; the first, 0, makes the prompt as long as asked
// for. INVALID_ARGUMENT for fewer than 256 tokens, an empty document or a model without a template.
absl::StatusOr<BenchPrompt> MakeBenchPrompt(const Engine& engine, const std::string& document, int64_t tokens,
                                            double depth, int question = 0);

}  // namespace slimfill::engine
