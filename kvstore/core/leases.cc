#include "kvstore/core/leases.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvstore/api/block_key.h"

namespace slimfill::kvstore {
namespace {

absl::Status Ended() {
  return absl::NotFoundError(
      "the lease is unknown or has run out: open a new one, and renew it within its time to live");
}

}  // namespace

absl::Status LeaseTable::CheckRoom(size_t blocks) const {
  if (blocks <= limits_.max_blocks - blocks_) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(blocks_, " blocks are leased, the limit is ", limits_.max_blocks,
                                                   ": release leases or let them run out"));
}

LeaseId LeaseTable::Open(Lease lease, absl::Time now) {
  do {
    // Random, so that an id of an earlier run of the store is unknown to this one and nobody guesses that of another.
    lease.id = RandomNumber();
  } while (lease.id == 0 || leases_.contains(lease.id));
  lease.expires = now + limits_.ttl;
  const LeaseId id = lease.id;
  blocks_ += lease.pins.size();
  expiries_.emplace(lease.expires, id);
  if (lease.session != 0) of_sessions_.emplace(lease.session, id);
  leases_.emplace(id, std::move(lease));
  UpdateNextExpiry();
  return id;
}

absl::StatusOr<LeaseId> LeaseTable::OpenPrefix(std::vector<EntryRef>& pins, SessionId session, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  SLIMFILL_RETURN_IF_ERROR(CheckLeases());
  SLIMFILL_RETURN_IF_ERROR(CheckRoom(pins.size()));
  return Open(Lease{.session = session, .pins = std::move(pins)}, now);
}

absl::StatusOr<LeaseId> LeaseTable::OpenPrivate(SessionId session, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  SLIMFILL_RETURN_IF_ERROR(CheckLeases());
  return Open(Lease{.is_private = true, .session = session}, now);
}

absl::Status LeaseTable::CheckLeases() const {
  if (leases_.size() < limits_.max_leases) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(leases_.size(), " leases are open, the limit is ",
                                                   limits_.max_leases, ": release leases or let them run out"));
}

absl::Status LeaseTable::Renew(LeaseId id, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  const auto found = leases_.find(id);
  if (found == leases_.end() || found->second.expires <= now) return Ended();
  Lease& lease = found->second;
  expiries_.erase({lease.expires, id});
  lease.expires = std::max(lease.expires, now + limits_.ttl);
  expiries_.emplace(lease.expires, id);
  UpdateNextExpiry();
  return absl::OkStatus();
}

absl::Status LeaseTable::FindPrivate(LeaseId id, absl::Time now, Lease** lease) {
  const auto found = leases_.find(id);
  if (found == leases_.end() || found->second.expires <= now) return Ended();
  if (!found->second.is_private) {
    return absl::InvalidArgumentError("the lease came from MatchPrefix: put private blocks under one from OpenPrivate");
  }
  *lease = &found->second;
  return absl::OkStatus();
}

absl::Status LeaseTable::CheckPrivate(LeaseId id, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  Lease* lease;
  return FindPrivate(id, now, &lease);
}

absl::Status LeaseTable::AddPrivateBlock(LeaseId id, const BlockKey& key, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  Lease* lease;
  SLIMFILL_RETURN_IF_ERROR(FindPrivate(id, now, &lease));
  SLIMFILL_RETURN_IF_ERROR(CheckRoom(1));
  lease->private_blocks.push_back(key);
  ++blocks_;
  return absl::OkStatus();
}

Lease LeaseTable::Remove(LeaseId id) {
  const auto found = leases_.find(id);
  Lease lease = std::move(found->second);
  leases_.erase(found);
  expiries_.erase({lease.expires, id});
  of_sessions_.erase({lease.session, id});
  blocks_ -= lease.pins.size() + lease.private_blocks.size();
  UpdateNextExpiry();
  return lease;
}

std::optional<Lease> LeaseTable::Take(LeaseId id) {
  absl::MutexLock lock(&mutex_);
  if (!leases_.contains(id)) return std::nullopt;
  return Remove(id);
}

std::optional<Lease> LeaseTable::TakeExpired(absl::Time now) {
  if (absl::ToUnixMicros(now) < next_expiry_us_.load(std::memory_order_relaxed)) return std::nullopt;
  absl::MutexLock lock(&mutex_);
  if (expiries_.empty() || expiries_.begin()->first > now) return std::nullopt;
  return Remove(expiries_.begin()->second);
}

std::optional<Lease> LeaseTable::TakeOfSession(SessionId session) {
  absl::MutexLock lock(&mutex_);
  const auto found = of_sessions_.lower_bound({session, 0});
  if (found == of_sessions_.end() || found->first != session) return std::nullopt;
  return Remove(found->second);
}

size_t LeaseTable::size() const {
  absl::MutexLock lock(&mutex_);
  return leases_.size();
}

void LeaseTable::UpdateNextExpiry() {
  next_expiry_us_.store(
      expiries_.empty() ? std::numeric_limits<int64_t>::max() : absl::ToUnixMicros(expiries_.begin()->first),
      std::memory_order_relaxed);
}

}  // namespace slimfill::kvstore
