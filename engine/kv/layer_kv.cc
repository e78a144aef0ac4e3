#include "engine/kv/layer_kv.h"

#include <algorithm>

#include "base/status.h"

namespace slimfill::engine {
namespace {

bool BlockBefore(const KvBlock& entry, int32_t block) { return entry.block < block; }

}  // namespace

absl::Status LayerKv::Append(int32_t block) {
  if (!blocks_.empty() && blocks_.back().block >= block) {
    SLIMFILL_CHECK(Holds(block));
    return absl::OkStatus();
  }
  SLIMFILL_ASSIGN_OR_RETURN(std::byte * page, pool_->Take());
  blocks_.push_back({page, block});
  return absl::OkStatus();
}

void LayerKv::KeepOnly(absl::Span<const int32_t> kept) {
  const auto drop = [&](const KvBlock& entry) {
    if (std::binary_search(kept.begin(), kept.end(), entry.block)) return false;
    pool_->GiveBack(entry.page);
    return true;
  };
  std::erase_if(blocks_, drop);
}

void LayerKv::Exchange(int32_t out, int32_t in, absl::Span<const std::byte> content, Backend& backend) {
  const auto leaving = std::lower_bound(blocks_.begin(), blocks_.end(), out, BlockBefore);
  SLIMFILL_CHECK(leaving != blocks_.end() && leaving->block == out && !Holds(in));
  std::byte* page = leaving->page;
  blocks_.erase(leaving);
  backend.WritePage(content, page);
  blocks_.insert(std::lower_bound(blocks_.begin(), blocks_.end(), in, BlockBefore), {page, in});
}

void LayerKv::Clear() {
  for (const KvBlock& entry : blocks_) pool_->GiveBack(entry.page);
  blocks_.clear();
}

bool LayerKv::Holds(int32_t block) const {
  const auto found = std::lower_bound(blocks_.begin(), blocks_.end(), block, BlockBefore);
  return found != blocks_.end() && found->block == block;
}

}  // namespace slimfill::engine
