#include "kvstore/core/index.h"

#include "absl/strings/str_cat.h"
#include "kvstore/api/block_key.h"

namespace slimfill::kvstore {

ParentLink& ParentLink::operator=(ParentLink&& other) noexcept {
  if (this == &other) return *this;
  if (index_ != nullptr) index_->ReleaseChild(parent_);
  index_ = std::exchange(other.index_, nullptr);
  parent_ = other.parent_;
  return *this;
}

ParentLink::~ParentLink() {
  if (index_ != nullptr) index_->ReleaseChild(parent_);
}

Index::~Index() {
  // Entries let go of parents in other shards: empty every shard while all of them are still alive.
  for (Shard& shard : shards_) {
    EntryMap doomed;
    absl::MutexLock lock(&shard.mutex);
    doomed.swap(shard.entries);
  }
}

// The low bits of the hash place an entry inside its shard's map; take others here.
Index::Shard& Index::ShardOf(const IndexKey& key) { return shards_[(absl::HashOf(key) >> 48) % kShards]; }

void Index::List(Shard& shard, const IndexKey& key, const Entry& entry) {
  shard.order.Add(entry.tick, key);
  shard.oldest_tick.store(shard.order.OldestTick(), std::memory_order_relaxed);
  if (entry.ownership.tenant != 0) shard.tenant_orders[entry.ownership.tenant].Add(entry.tick, key);
}

void Index::Unlist(Shard& shard, const Entry& entry) {
  shard.order.Remove(entry.tick);
  shard.oldest_tick.store(shard.order.OldestTick(), std::memory_order_relaxed);
  if (entry.ownership.tenant == 0) return;
  const auto order = shard.tenant_orders.find(entry.ownership.tenant);
  order->second.Remove(entry.tick);
  if (order->second.OldestTick() == LruOrder<IndexKey>::kNone) shard.tenant_orders.erase(order);
}

void Index::UpdateOrder(Shard& shard, const IndexKey& key, Entry& entry) {
  const bool evictable = key.owner == 0 && entry.pins == 0 && entry.children == 0;
  if (evictable == entry.evictable) return;
  entry.evictable = evictable;
  if (evictable) {
    List(shard, key, entry);
  } else {
    Unlist(shard, entry);
  }
}

void Index::Touch(Shard& shard, const IndexKey& key, Entry& entry) {
  if (entry.evictable) Unlist(shard, entry);
  entry.tick = NextTick();
  if (entry.evictable) List(shard, key, entry);
}

Index::Entry Index::Take(Shard& shard, EntryMap::iterator found) {
  Entry entry = std::move(found->second);
  if (entry.evictable) Unlist(shard, entry);
  if (removals_ != nullptr && found->first.owner == 0) removals_->Publish(found->first.key);
  shard.entries.erase(found);
  size_.fetch_sub(1, std::memory_order_relaxed);
  return entry;
}

std::optional<Index::Found> Index::Find(const IndexKey& key) {
  Shard& shard = ShardOf(key);
  absl::MutexLock lock(&shard.mutex);
  const auto found = shard.entries.find(key);
  if (found == shard.entries.end()) return std::nullopt;
  Touch(shard, key, found->second);
  const Entry& entry = found->second;
  return Found{entry.value, {key, entry.generation}, entry.parent.parent(), entry.ownership.tenant};
}

std::optional<EntryRef> Index::Pin(const BlockKey& block) {
  const IndexKey key{0, block};
  Shard& shard = ShardOf(key);
  absl::MutexLock lock(&shard.mutex);
  const auto found = shard.entries.find(key);
  if (found == shard.entries.end()) return std::nullopt;
  Entry& entry = found->second;
  Touch(shard, key, entry);
  ++entry.pins;
  UpdateOrder(shard, key, entry);
  return EntryRef{key, entry.generation};
}

void Index::Unpin(const EntryRef& ref) {
  Shard& shard = ShardOf(ref.key);
  absl::MutexLock lock(&shard.mutex);
  const auto found = shard.entries.find(ref.key);
  if (found == shard.entries.end() || found->second.generation != ref.generation) return;
  --found->second.pins;
  UpdateOrder(shard, ref.key, found->second);
}

ParentLink Index::LinkParent(const BlockKey& parent) {
  const IndexKey key{0, parent};
  Shard& shard = ShardOf(key);
  absl::MutexLock lock(&shard.mutex);
  const auto found = shard.entries.find(key);
  if (found == shard.entries.end()) return {};
  ++found->second.children;
  UpdateOrder(shard, key, found->second);
  return ParentLink(this, {key, found->second.generation});
}

void Index::ReleaseChild(const EntryRef& parent) {
  Shard& shard = ShardOf(parent.key);
  absl::MutexLock lock(&shard.mutex);
  const auto found = shard.entries.find(parent.key);
  if (found == shard.entries.end() || found->second.generation != parent.generation) return;
  --found->second.children;
  UpdateOrder(shard, parent.key, found->second);
}

bool Index::Insert(const IndexKey& key, std::shared_ptr<const Value> value, ParentLink parent, Ownership ownership) {
  Shard& shard = ShardOf(key);
  absl::MutexLock lock(&shard.mutex);
  const auto [place, inserted] = shard.entries.try_emplace(key);
  if (!inserted) return false;
  Entry& entry = place->second;
  entry.value = std::move(value);
  entry.parent = std::move(parent);
  entry.ownership = std::move(ownership);
  entry.generation = generations_.fetch_add(1, std::memory_order_relaxed);
  entry.tick = NextTick();
  UpdateOrder(shard, key, entry);
  size_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void Index::Remove(const IndexKey& key) {
  Entry doomed;
  Shard& shard = ShardOf(key);
  absl::MutexLock lock(&shard.mutex);
  if (const auto found = shard.entries.find(key); found != shard.entries.end()) doomed = Take(shard, found);
}

void Index::RemoveExactly(const EntryRef& ref) {
  Entry doomed;
  Shard& shard = ShardOf(ref.key);
  absl::MutexLock lock(&shard.mutex);
  const auto found = shard.entries.find(ref.key);
  if (found != shard.entries.end() && found->second.generation == ref.generation) doomed = Take(shard, found);
}

absl::Status Index::RemoveIfIdle(const BlockKey& block) {
  const IndexKey key{0, block};
  Entry doomed;
  Shard& shard = ShardOf(key);
  absl::MutexLock lock(&shard.mutex);
  const auto found = shard.entries.find(key);
  if (found == shard.entries.end()) return absl::NotFoundError(absl::StrCat("block ", ToHex(block), " is not stored"));
  if (!found->second.evictable) {
    return absl::FailedPreconditionError(
        absl::StrCat("block ", ToHex(block), " is in use (", found->second.pins, " leases, ", found->second.children,
                     " blocks that follow it): delete those that follow it first, or wait until its leases end"));
  }
  doomed = Take(shard, found);
  return absl::OkStatus();
}

bool Index::EvictOneOf(uint64_t tenant) {
  while (true) {
    Shard* oldest = nullptr;
    uint64_t oldest_tick = LruOrder<IndexKey>::kNone;
    for (Shard& shard : shards_) {
      absl::MutexLock lock(&shard.mutex);
      const auto order = shard.tenant_orders.find(tenant);
      if (order == shard.tenant_orders.end() || order->second.OldestTick() >= oldest_tick) continue;
      oldest = &shard;
      oldest_tick = order->second.OldestTick();
    }
    if (oldest == nullptr) return false;
    Entry doomed;
    absl::MutexLock lock(&oldest->mutex);
    const auto order = oldest->tenant_orders.find(tenant);
    if (order == oldest->tenant_orders.end()) continue;  // another thread was faster
    doomed = Take(*oldest, oldest->entries.find(order->second.Oldest()));
    return true;
  }
}

bool Index::EvictOne() {
  while (true) {
    Shard* oldest = nullptr;
    uint64_t oldest_tick = LruOrder<IndexKey>::kNone;
    for (Shard& shard : shards_) {
      const uint64_t tick = shard.oldest_tick.load(std::memory_order_relaxed);
      if (tick < oldest_tick) {
        oldest = &shard;
        oldest_tick = tick;
      }
    }
    if (oldest == nullptr) return false;
    Entry doomed;
    absl::MutexLock lock(&oldest->mutex);
    if (oldest->order.OldestTick() == LruOrder<IndexKey>::kNone) continue;  // another thread was faster
    doomed = Take(*oldest, oldest->entries.find(oldest->order.Oldest()));
    return true;
  }
}

}  // namespace slimfill::kvstore
