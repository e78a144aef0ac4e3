#include "tests/kvstore/core/store_model.h"

#include "kvstore/core/arena.h"

namespace slimfill::kvstore {

using Code = absl::StatusCode;

void StoreModel::AdvanceTo(absl::Time now) {
  now_ = now;
  std::vector<LeaseId> ended;
  for (const auto& [id, lease] : leases_) {
    if (lease.expires <= now) ended.push_back(id);
  }
  for (LeaseId id : ended) End(id);
}

int64_t StoreModel::MatchedBlocks(const std::vector<uint32_t>& ids) const {
  int64_t blocks = 0;
  while (blocks < static_cast<int64_t>(ids.size()) && IsPresent({0, ids[blocks]})) ++blocks;
  return blocks;
}

void StoreModel::OpenPrefix(LeaseId lease, const std::vector<uint32_t>& ids, int64_t blocks) {
  Lease opened{.expires = now_ + ttl_};
  for (int64_t i = 0; i < blocks; ++i) {
    Entry& entry = entries_.at({0, ids[i]});
    entry.used = ++ticks_;
    opened.pins.emplace_back(ids[i], entry.life);
  }
  leases_[lease] = opened;
}

void StoreModel::OpenPrivate(LeaseId lease) { leases_[lease] = Lease{.is_private = true, .expires = now_ + ttl_}; }

Code StoreModel::Renew(LeaseId lease) {
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return Code::kNotFound;
  found->second.expires = now_ + ttl_;
  return Code::kOk;
}

void StoreModel::Release(LeaseId lease) {
  if (leases_.count(lease) != 0) End(lease);
}

void StoreModel::End(LeaseId lease) {
  leases_.erase(lease);
  std::erase_if(entries_, [&](const auto& item) { return item.first.first == lease; });
}

Code StoreModel::Put(uint32_t id, uint32_t parent, uint64_t tenant, Value value, LeaseId lease) {
  if (lease != 0) {
    const auto found = leases_.find(lease);
    if (found == leases_.end()) return Code::kNotFound;
    if (!found->second.is_private) return Code::kInvalidArgument;
  }
  if (const auto present = entries_.find({lease, id}); present != entries_.end()) {
    present->second.used = ++ticks_;
    return Code::kOk;
  }
  Entry entry{.value = value, .tenant = lease == 0 ? tenant : 0};
  const bool has_parent = lease == 0 && parent != 0;
  if (has_parent && IsPresent({0, parent})) entry.parent = {parent, entries_.at({0, parent}).life};
  // The entry counts as a child already, so that its parent is not evicted to make room for it.
  const Name placeholder{~LeaseId{0}, id};
  entries_[placeholder] = entry;
  const bool may_evict = !has_parent || entry.parent.has_value();
  const auto make_room = [&](uint64_t who, uint64_t limit) {
    const auto fits = [&] { return (who == 0 ? bytes_used() : bytes_of(who)) <= limit; };
    while (!fits() && may_evict && Arena::Charge(value.size) <= limit && EvictOne(who)) {
    }
    return fits();
  };
  bool fits = entry.tenant == 0 || tenant_bytes_ == 0 || make_room(entry.tenant, tenant_bytes_);
  fits = fits && make_room(0, memory_bytes_);
  entries_.erase(placeholder);
  if (!fits) {
    ++counters_.puts_refused;
    return Code::kResourceExhausted;
  }
  entry.life = entry.used = ++ticks_;
  entries_[{lease, id}] = entry;
  ++counters_.puts;
  return Code::kOk;
}

std::optional<StoreModel::Value> StoreModel::Fetch(uint32_t id, LeaseId lease) {
  auto found = entries_.end();
  if (lease != 0) found = entries_.find({lease, id});
  if (found == entries_.end()) found = entries_.find({0, id});
  if (found == entries_.end()) {
    ++counters_.misses;
    return std::nullopt;
  }
  found->second.used = ++ticks_;
  const Value value = found->second.value;
  if (value.corrupt) {
    entries_.erase(found);
  } else {
    ++counters_.hits;
  }
  return value;
}

void StoreModel::Corrupt(uint32_t id, LeaseId lease) { entries_.at({lease, id}).value.corrupt = true; }

Code StoreModel::Delete(uint32_t id) {
  if (!IsPresent({0, id})) return Code::kNotFound;
  if (InUse(id)) return Code::kFailedPrecondition;
  entries_.erase({0, id});
  return Code::kOk;
}

bool StoreModel::IsLeased(uint32_t id) const {
  const auto entry = entries_.find({0, id});
  if (entry == entries_.end()) return false;
  for (const auto& [lease_id, lease] : leases_) {
    for (const auto& pin : lease.pins) {
      if (pin == std::pair(id, entry->second.life)) return true;
    }
  }
  return false;
}

std::optional<uint32_t> StoreModel::ParentOf(uint32_t id) const {
  const auto& parent = entries_.at({0, id}).parent;
  if (!parent.has_value()) return std::nullopt;
  const auto found = entries_.find({0, parent->first});
  if (found == entries_.end() || found->second.life != parent->second) return std::nullopt;
  return parent->first;
}

bool StoreModel::InUse(uint32_t id) const {
  if (IsLeased(id)) return true;
  const std::pair<uint32_t, uint64_t> self{id, entries_.at({0, id}).life};
  for (const auto& [name, entry] : entries_) {
    if (entry.parent == self) return true;
  }
  return false;
}

bool StoreModel::EvictOne(uint64_t tenant) {
  auto victim = entries_.end();
  for (auto it = entries_.begin(); it != entries_.end() && it->first.first == 0; ++it) {
    if (tenant != 0 && it->second.tenant != tenant) continue;
    if (!InUse(it->first.second) && (victim == entries_.end() || it->second.used < victim->second.used)) victim = it;
  }
  if (victim == entries_.end()) return false;
  entries_.erase(victim);
  ++counters_.evictions;
  return true;
}

uint64_t StoreModel::bytes_of(uint64_t tenant) const {
  uint64_t bytes = 0;
  for (const auto& [name, entry] : entries_) {
    if (entry.tenant == tenant) bytes += Arena::Charge(entry.value.size);
  }
  return bytes;
}

uint64_t StoreModel::bytes_used() const {
  uint64_t bytes = 0;
  for (const auto& [name, entry] : entries_) bytes += Arena::Charge(entry.value.size);
  return bytes;
}

}  // namespace slimfill::kvstore
