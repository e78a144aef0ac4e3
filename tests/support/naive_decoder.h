// A decoder written straight from the model's definition, in double precision, for one prompt: the oracle of the
// engine's own forward pass, pruned or not.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/types/span.h"
#include "engine/model/config.h"
#include "engine/model/tokenizer.h"
#include "engine/model/weights.h"

namespace slimfill::testing {

// Log-probabilities [vocab] after the last token of `tokens`. `kept_blocks`: prune layer -> blocks of 64 tokens that go
// on after that layer's attention (others leave before its FFN).
std::vector<double> NaiveLogprobs(const engine::ModelConfig& config, const engine::ModelWeights& weights,
                                  absl::Span<const engine::TokenId> tokens,
                                  const std::map<int, std::vector<int32_t>>& kept_blocks);

}  // namespace slimfill::testing
