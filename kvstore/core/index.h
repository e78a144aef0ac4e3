// Finds values by key, knows who holds them, and picks what to evict. Sharded by key; no lock is held while bytes move
// or while another shard is locked.
//
// Reading and pinning an entry only note when it was last used; the order of eviction follows when something is
// evicted.
//
// An entry appears with its complete value (READY); what is being written is not here yet, and what was removed lives
// on only in the hands of its readers. An entry is evictable when it is shared, nobody pins it and no child hangs on
// it. A child hangs on its parent only when the parent was there first: links point from newer to older entries, so a
// cycle of made-up keys cannot make entries immortal.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "kvstore/api/kv_store.h"
#include "kvstore/core/lru_order.h"
#include "kvstore/core/removal_feed.h"
#include "kvstore/core/tenant_usage.h"
#include "kvstore/core/value.h"

namespace slimfill::kvstore {

// Owner 0 is the shared name space; each private lease has its own.
struct IndexKey {
  LeaseId owner = 0;
  BlockKey key;
  friend bool operator==(const IndexKey&, const IndexKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const IndexKey& k) {
    return H::combine(std::move(h), k.owner, k.key);
  }
};

// Names one life of an entry: the same key stored again is another entry.
struct EntryRef {
  IndexKey key;
  uint64_t generation = 0;
};

class Index;

// Keeps a present parent from being evicted while its child is written and for as long as the child is present.
// Move only; lets go when destroyed.
class ParentLink {
 public:
  ParentLink() = default;
  ParentLink(Index* index, EntryRef parent) : index_(index), parent_(std::move(parent)) {}
  ParentLink(ParentLink&& other) noexcept { *this = std::move(other); }
  ParentLink& operator=(ParentLink&& other) noexcept;
  ~ParentLink();
  explicit operator bool() const { return index_ != nullptr; }
  const BlockKey& parent() const { return parent_.key.key; }  // all zero for an empty link

 private:
  Index* index_ = nullptr;
  EntryRef parent_;
};

// Thread safe.
class Index {
 public:
  struct Found {
    std::shared_ptr<const Value> value;
    EntryRef ref;
    BlockKey parent;      // all zero when it hangs on none
    uint64_t tenant = 0;  // whose share it takes
  };

  // `removals` (may be null; outlives this): hears of every shared entry that goes before the index does.
  explicit Index(RemovalFeed* removals = nullptr) : removals_(removals) {}
  ~Index();
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  // Marks the entry as just used.
  std::optional<Found> Find(const IndexKey& key);

  // Keeps a shared entry from eviction until Unpin; marks it as just used. Nothing when it is absent.
  std::optional<EntryRef> Pin(const BlockKey& key);
  void Unpin(const EntryRef& ref);

  // An empty link when the parent is absent.
  ParentLink LinkParent(const BlockKey& parent);

  // Whose share of the store a value takes: 0 for nobody's.
  struct Ownership {
    uint64_t tenant = 0;
    TenantShare share;
  };
  // Publishes a value. False, and nothing changes, when the key is present.
  bool Insert(const IndexKey& key, std::shared_ptr<const Value> value, ParentLink parent, Ownership ownership);

  // Removes an entry whatever holds it: for private blocks and for values that failed their checksum.
  void Remove(const IndexKey& key);
  void RemoveExactly(const EntryRef& ref);

  // Removes a shared entry that could be evicted. NOT_FOUND, or FAILED_PRECONDITION when it is in use.
  absl::Status RemoveIfIdle(const BlockKey& key);

  // Removes the least recently used evictable entry; false when there is none.
  bool EvictOne();
  // The same among a tenant's entries. REQUIRES: tenant != 0.
  bool EvictOneOf(uint64_t tenant);

  uint64_t size() const { return size_.load(std::memory_order_relaxed); }

 private:
  friend class ParentLink;
  static constexpr uint64_t kNotListed = LruOrder<IndexKey>::kNone;

  struct Entry {
    std::shared_ptr<const Value> value;
    ParentLink parent;
    Ownership ownership;
    uint64_t generation = 0;
    uint64_t tick = 0;                  // when it was last used
    uint64_t listed_tick = kNotListed;  // its place in the shard's order: not after `tick`
    uint32_t pins = 0;
    uint32_t children = 0;
  };
  using EntryMap = absl::flat_hash_map<IndexKey, Entry>;

  struct Shard {
    absl::Mutex mutex;
    EntryMap entries ABSL_GUARDED_BY(mutex);
    LruOrder<IndexKey> order ABSL_GUARDED_BY(mutex);
    absl::flat_hash_map<uint64_t, LruOrder<IndexKey>> tenant_orders ABSL_GUARDED_BY(mutex);  // of those that have any
    std::atomic<uint64_t> oldest_tick{LruOrder<IndexKey>::kNone};  // copy of order.OldestTick(), read without the lock
  };
  static constexpr size_t kShards = 16;

  Shard& ShardOf(const IndexKey& key);
  uint64_t NextTick() { return ticks_.fetch_add(1, std::memory_order_relaxed); }
  void ReleaseChild(const EntryRef& parent);

  // Every evictable entry is listed. So that reading costs no work on the lists, a listed one may have been used since,
  // or have become unevictable: whoever evicts finds out when its turn comes.
  static bool IsEvictable(const IndexKey& key, const Entry& entry) {
    return key.owner == 0 && entry.pins == 0 && entry.children == 0;
  }
  static void List(Shard& shard, const IndexKey& key, Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  static void Unlist(Shard& shard, Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  // To be called when it may have become evictable.
  static void ListIfEvictable(Shard& shard, const IndexKey& key, Entry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  // The entry whose turn it is in `order`, one of the shard's, when nothing has happened to it since it was listed;
  // otherwise lists it as it is now, and returns the end of the map. REQUIRES: the order is not empty.
  static EntryMap::iterator OldestIfCurrent(Shard& shard, const LruOrder<IndexKey>& order)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  // A little of what evictions would otherwise have to do all at once, when a store gets full that was long read from.
  static void RefreshOldest(Shard& shard) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);
  // The entry must be destroyed after the lock is gone: it lets go of its parent, which may be in any shard.
  Entry Take(Shard& shard, EntryMap::iterator found) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);

  RemovalFeed* const removals_;
  std::array<Shard, kShards> shards_;
  std::atomic<uint64_t> ticks_{1};
  std::atomic<uint64_t> generations_{1};
  std::atomic<uint64_t> size_{0};
};

}  // namespace slimfill::kvstore
