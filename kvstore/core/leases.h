// Leases: what each one holds and when it runs out. The table only keeps books; LocalKvStore unpins and deletes what a
// lease that ended leaves behind.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "kvstore/api/kv_store.h"
#include "kvstore/core/index.h"

namespace slimfill::kvstore {

// Names an attached client (kvstore/service/shm_server.h); 0 is none.
using SessionId = uint64_t;

struct Lease {
  LeaseId id = 0;
  bool is_private = false;
  SessionId session = 0;  // whose end ends the lease; 0: none's
  absl::Time expires;
  std::vector<EntryRef> pins;            // shared entries kept from eviction
  std::vector<BlockKey> private_blocks;  // entries that die with the lease
};

// Thread safe.
class LeaseTable {
 public:
  struct Limits {
    absl::Duration ttl;
    size_t max_leases;
    size_t max_blocks;  // pins and private blocks of all leases; bounds the table's own memory
  };

  explicit LeaseTable(const Limits& limits) : limits_(limits) {}

  // RESOURCE_EXHAUSTED when there are too many leases or leased blocks; `pins` is then untouched.
  absl::StatusOr<LeaseId> OpenPrefix(std::vector<EntryRef>& pins, SessionId session, absl::Time now);
  absl::StatusOr<LeaseId> OpenPrivate(SessionId session, absl::Time now);

  // NOT_FOUND when it has ended.
  absl::Status Renew(LeaseId id, absl::Time now);
  // OK when `id` is a live private lease; NOT_FOUND when it has ended, INVALID_ARGUMENT when it is a prefix lease.
  absl::Status CheckPrivate(LeaseId id, absl::Time now);
  // Makes a stored block die with the lease; errors as in CheckPrivate and OpenPrefix.
  absl::Status AddPrivateBlock(LeaseId id, const BlockKey& key, absl::Time now);

  // Ends a lease and hands over what it held.
  std::optional<Lease> Take(LeaseId id);
  // Ends a lease that has run out; call until there is none. Costs one atomic read when nothing is due.
  std::optional<Lease> TakeExpired(absl::Time now);

  // Ends a lease of the session; call until there is none.
  std::optional<Lease> TakeOfSession(SessionId session);

  size_t size() const;

 private:
  LeaseId Open(Lease lease, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckLeases() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckRoom(size_t blocks) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status FindPrivate(LeaseId id, absl::Time now, Lease** lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Lease Remove(LeaseId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UpdateNextExpiry() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Limits limits_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<LeaseId, Lease> leases_ ABSL_GUARDED_BY(mutex_);
  absl::btree_set<std::pair<absl::Time, LeaseId>> expiries_ ABSL_GUARDED_BY(mutex_);
  absl::btree_set<std::pair<SessionId, LeaseId>> of_sessions_ ABSL_GUARDED_BY(mutex_);  // leases that have one
  size_t blocks_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<int64_t> next_expiry_us_{std::numeric_limits<int64_t>::max()};  // of expiries_, read without the lock
};

}  // namespace slimfill::kvstore
