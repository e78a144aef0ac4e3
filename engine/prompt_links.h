// Which units of a prompt its tokens look back to, recorded as the layers run. They do not depend on the question, so
// that they are stored with a prefix.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/ops/backend.h"
#include "engine/prune/plan.h"
#include "engine/prune/policy.h"

namespace slimfill::engine {

// One per sequence.
class PromptLinks {
 public:
  PromptLinks() = default;  // no heads: nothing is recorded
  PromptLinks(std::vector<LayerHead> heads, int64_t prompt_tokens);

  const std::vector<LayerHead>& heads() const { return heads_; }
  // What the rows at `positions` (one behind another) look back to at `layer`, if heads of it make links. q as for
  // Backend::LookBack, `kv` the layer's with these rows.
  void Record(int layer, ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
              KvLayerView kv, Backend& backend);

  // [whole blocks of the prompt * 64, heads]: to be stored, and filled from what was.
  absl::Span<FarLook> looks() { return absl::MakeSpan(looks_); }
  // Of all that was recorded. What cannot be (stored looks are only bytes) is left out.
  std::vector<UnitLink> UnitLinks() const;
  // Of the head at `index` of heads(): for each unit the `count` different ones that its tokens look back to with most
  // mass, the most first. [whole blocks of the prompt * 8, count], unit -1 where there are no more.
  std::vector<FarLook> BestLooks(size_t index, int count) const;

 private:
  std::vector<LayerHead> heads_;
  std::vector<FarLook> looks_;
};

}  // namespace slimfill::engine
