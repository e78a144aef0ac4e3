#include "kvstore/core/extent_map.h"

#include "base/status.h"

namespace slimfill::kvstore {

void ExtentMap::Add(uint64_t offset, uint64_t size) {
  by_offset_.emplace(offset, size);
  by_size_.emplace(size, offset);
}

void ExtentMap::Remove(uint64_t offset, uint64_t size) {
  by_offset_.erase(offset);
  by_size_.erase({size, offset});
}

std::optional<uint64_t> ExtentMap::Take(uint64_t size) {
  const auto found = by_size_.lower_bound({size, 0});
  if (found == by_size_.end()) return std::nullopt;
  const auto [free, offset] = *found;
  Remove(offset, free);
  if (free > size) Add(offset + size, free - size);
  return offset;
}

void ExtentMap::Return(uint64_t offset, uint64_t size) {
  auto next = by_offset_.lower_bound(offset);
  SLIMFILL_CHECK(next == by_offset_.end() || offset + size <= next->first);
  if (next != by_offset_.begin()) {
    const auto [before, before_size] = *std::prev(next);
    SLIMFILL_CHECK(before + before_size <= offset);
    if (before + before_size == offset) {
      Remove(before, before_size);
      offset = before;
      size += before_size;
    }
  }
  next = by_offset_.lower_bound(offset);
  if (next != by_offset_.end() && offset + size == next->first) {
    const uint64_t after_size = next->second;
    Remove(offset + size, after_size);
    size += after_size;
  }
  Add(offset, size);
}

}  // namespace slimfill::kvstore
