// A bounded memory of keys: the newest ones, and none for much longer than it should.
#pragma once

#include <cstddef>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/time/time.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::kvstore {

// Remembers at least the last `capacity` keys for at least `span`, and no key after twice that. Not thread safe.
class KeyMemory {
 public:
  KeyMemory(size_t capacity, absl::Duration span) : capacity_(capacity), span_(span) {}

  // False when the key is remembered already.
  bool Insert(const BlockKey& key, absl::Time now) {
    if (young_.size() >= capacity_ || now - since_ >= span_) {
      old_ = std::exchange(young_, {});
      if (now - since_ >= 2 * span_) old_.clear();
      since_ = now;
    }
    return !old_.contains(key) && young_.insert(key).second;
  }

  void Erase(const BlockKey& key) {
    young_.erase(key);
    old_.erase(key);
  }

 private:
  const size_t capacity_;
  const absl::Duration span_;
  absl::Time since_ = absl::InfinitePast();  // of young_
  absl::flat_hash_set<BlockKey> young_, old_;
};

}  // namespace slimfill::kvstore
