// The CPU backend's KV pages: bf16; for each KV head the keys packed [head_dim / 2][slot][2], then the values packed
// [slot / 2][head_dim][2].
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/ops/backend.h"

namespace slimfill::engine::cpu {

inline constexpr char kPageLayout[] = "bf16 kv_head,k[dim/2,slot,2],v[slot/2,dim,2]";

inline uint16_t* PageKeys(const KvBlock& block, const AttentionShape& shape, int kv_head) {
  return reinterpret_cast<uint16_t*>(block.page) + int64_t{2} * kv_head * kBlockTokens * shape.head_dim;
}
inline uint16_t* PageValues(const KvBlock& block, const AttentionShape& shape, int kv_head) {
  return PageKeys(block, shape, kv_head) + int64_t{kBlockTokens} * shape.head_dim;
}

// Slots of a block at positions below `end`: always the first ones.
inline int SlotsBelow(const KvBlock& block, int64_t end) {
  return static_cast<int>(std::clamp<int64_t>(end - int64_t{block.block} * kBlockTokens, 0, kBlockTokens));
}

}  // namespace slimfill::engine::cpu
