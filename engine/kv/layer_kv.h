// The KV pages one sequence holds in one layer: a block table in position order.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/kv/page_pool.h"
#include "engine/ops/backend.h"

namespace slimfill::engine {

// Owns its pages and gives them back to the pool when destroyed. Move only; engine thread only.
class LayerKv {
 public:
  explicit LayerKv(PagePool& pool) : pool_(&pool) {}
  LayerKv(LayerKv&& other) noexcept : pool_(other.pool_), blocks_(std::move(other.blocks_)) { other.blocks_.clear(); }
  LayerKv& operator=(LayerKv&&) = delete;
  ~LayerKv() { Clear(); }

  // Adds a page for `block` unless it has one. REQUIRES: block is not before the last one held.
  absl::Status Append(int32_t block);
  // Gives back the pages of all blocks but those in `kept` (ascending).
  void KeepOnly(absl::Span<const int32_t> kept);
  // Block `out` leaves and its page becomes block `in`'s, with `content`. REQUIRES: holds `out`, not `in`.
  void Exchange(int32_t out, int32_t in, absl::Span<const std::byte> content, Backend& backend);
  void Clear();

  KvLayerView view() const { return blocks_; }
  bool Holds(int32_t block) const;
  int64_t pages() const { return static_cast<int64_t>(blocks_.size()); }

 private:
  PagePool* pool_;
  std::vector<KvBlock> blocks_;
};

}  // namespace slimfill::engine
