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

void Index::List(Shard& shard, const IndexKey& key, Entry& entry) {
  entry.listed_tick = entry.tick;
  shard.order.Add(entry.listed_tick, key);
  shard.oldest_tick.store(shard.order.OldestTick(), std::memory_order_relaxed);
  if (entry.ownership.tenant != 0) shard.tenant_orders[entry.ownership.tenant].Add(entry.listed_tick, key);
}

void Index::Unlist(Shard& shard, Entry& entry) {
  const uint64_t tick = std::exchange(entry.listed_tick, kNotListed);
  shard.order.Remove(tick);
  shard.oldest_tick.store(shard.order.OldestTick(), std::memory_order_relaxed);
  if (entry.ownership.tenant == 0) return;
  const auto order = shard.tenant_orders.find(entry.ownership.tenant);
  order->second.Remove(tick);
  if (order->second.OldestTick() == LruOrder<IndexKey>::kNone) shard.tenant_orders.erase(order);
}

void Index::ListIfEvictable(Shard& shard, const IndexKey& key, Entry& entry) {
  if (entry.listed_tick == kNotListed && IsEvictable(key, entry)) List(shard, key, entry);
}

Index::EntryMap::iterator Index::OldestIfCurrent(Shard& shard, const LruOrder<IndexKey>& order) {
  const auto oldest = shard.entries.find(order.Oldest());
  Entry& entry = oldest->second;
  if (IsEvictable(oldest->first, entry) && entry.listed_tick == entry.tick) return oldest;
  Unlist(shard, entry);
  ListIfEvictable(shard, oldest->first, entry);
  return shard.entries.end();
}

void Index::RefreshOldest(Shard& shard) {
  constexpr int kEntries = 2;
  for (int i = 0; i < kEntries && shard.order.OldestTick() != LruOrder<IndexKey>::kNone; ++i) {
    if (OldestIfCurrent(shard, shard.order) != shard.entries.end()) return;
  }
}

Index::Entry Index::Take(Shard& shard, EntryMap::iterator found) {
  Entry entry = std::move(found->second);
  if (entry.listed_tick != kNotListed) Unlist(shard, entry);
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
  Entry& entry = found->second;
  entry.tick = NextTick();
  return Found{entry.value, {key, entry.generation}, entry.parent.parent(), entry.ownership.tenant};
}

std::optional<EntryRef> Index::Pin(const BlockKey& block) {
  const IndexKey key{0, block};
  Shard& shard = ShardOf(key);
  absl::MutexLock lock(&shard.mutex);
  const auto found = shard.entries.find(key);
  if (found == shard.entries.end()) return std::nullopt;
  Entry& entry = found->second;
  entry.tick = NextTick();
  ++entry.pins;
  return EntryRef{key, entry.generation};
}

void Index::Unpin(const EntryRef& ref) {
  Shard& shard = ShardOf(ref.key);
  absl::MutexLock lock(&shard.mutex);
  const auto found = shard.entries.find(ref.key);
  if (found == shard.entries.end() || found->second.generation != ref.generation) return;
  --found->second.pins;
  ListIfEvictable(shard, ref.key, found->second);
}

ParentLink Index::LinkParent(const BlockKey& parent) {
  const IndexKey key{0, parent};
  Shard& shard = ShardOf(key);
  absl::MutexLock lock(&shard.mutex);
  const auto found = shard.entries.find(key);
  if (found == shard.entries.end()) return {};
  ++found->second.children;
  return ParentLink(this, {key, found->second.generation});
}

void Index::ReleaseChild(const EntryRef& parent) {
  Shard& shard = ShardOf(parent.key);
  absl::MutexLock lock(&shard.mutex);
  const auto found = shard.entries.find(parent.key);
  if (found == shard.entries.end() || found->second.generation != parent.generation) return;
  --found->second.children;
  ListIfEvictable(shard, parent.key, found->second);
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
  ListIfEvictable(shard, key, entry);
  RefreshOldest(shard);
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
  if (!IsEvictable(key, found->second)) {
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
    const auto next = OldestIfCurrent(*oldest, order->second);
    if (next == oldest->entries.end()) continue;
    doomed = Take(*oldest, next);
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
    const auto next = OldestIfCurrent(*oldest, oldest->order);
    if (next == oldest->entries.end()) continue;
    doomed = Take(*oldest, next);
    return true;
  }
}

}  // namespace slimfill::kvstore
