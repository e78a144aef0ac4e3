// The order in which evictable blocks go: least recently used first (docs/decisions/0006-lru-of-leaves.md).
#pragma once

#include <cstdint>
#include <limits>

#include "absl/container/btree_map.h"

namespace slimfill::kvstore {

// Not thread safe. Ticks are unique: one counter serves the whole store.
template <typename Key>
class LruOrder {
 public:
  static constexpr uint64_t kNone = std::numeric_limits<uint64_t>::max();

  void Add(uint64_t tick, const Key& key) { keys_.emplace(tick, key); }
  void Remove(uint64_t tick) { keys_.erase(tick); }
  uint64_t OldestTick() const { return keys_.empty() ? kNone : keys_.begin()->first; }
  const Key& Oldest() const { return keys_.begin()->second; }  // REQUIRES: OldestTick() != kNone

 private:
  absl::btree_map<uint64_t, Key> keys_;
};

}  // namespace slimfill::kvstore
