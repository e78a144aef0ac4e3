// Mean keys of a layer's units: a sixteenth of the layer's KV (an eighth of its keys), kept on the host after pruning
// so that decode can score blocks whose pages are no longer held.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/ops/backend.h"

namespace slimfill::engine {

// Immutable once made.
class UnitKeys {
 public:
  // Reads the means of `view`'s blocks, of keys at positions < end_position.
  UnitKeys(std::vector<int32_t> blocks, int32_t end_position, const AttentionShape& shape, KvLayerView view,
           Backend& backend);

  const std::vector<int32_t>& blocks() const { return blocks_; }

  // SlimInfer (arXiv 2508.06447): a unit's score is the mean over heads of |q_h . k_unit|, a block's the largest of its
  // units. `q` f32 [heads, head_dim]: the mean of the last queries.
  std::vector<float> PaperScores(absl::Span<const float> q, bool absolute) const;

  // Softmax over units of q_h . k_unit / sqrt(head_dim), weighted by the unit's tokens: an estimate of attention mass.
  // One row per entry of `heads`: [heads, blocks * 8].
  std::vector<float> EstimatedMass(absl::Span<const float> q, absl::Span<const int> heads) const;

 private:
  float Dot(absl::Span<const float> q, int head, int64_t unit) const;
  int UnitTokens(int64_t unit) const;  // keys in the unit, 0 to 8

  const std::vector<int32_t> blocks_;
  const int32_t end_position_;
  const AttentionShape shape_;
  std::vector<float> means_;  // [blocks * 8, kv_heads, head_dim]
};

}  // namespace slimfill::engine
