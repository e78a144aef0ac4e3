// A KV store in this process with an L2 behind it. Everything is served from the store: what MatchPrefix does not find
// there it first brings back from the L2 (promoter.h), and what it finds there is on its way to the L2
// (write_behind.h).
//
// Promotions are few at a time, and one for the same blocks serves all who ask for them meanwhile. With none free, and
// whenever the L2 fails or is late, the answer is what the store has.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "kvstore/api/kv_store.h"
#include "kvstore/core/local_store.h"
#include "kvstore/l2/l2_store.h"
#include "kvstore/l2/promoter.h"
#include "kvstore/l2/write_behind.h"

namespace slimfill::kvstore {

struct TierOptions {
  int promotions = 4;        // at once, each on a thread of its own
  size_t max_waiting = 256;  // calls that wait for one; further ones are answered from the store
  // Of a promotion, even where its call has more time.
  absl::Duration max_promotion_time = absl::Seconds(2);
  PromoterOptions promoter;
  WriteBehindOptions write_behind;
};

// With an L2 that keeps blocks for `ttl`.
TierOptions MakeTierOptions(absl::Duration ttl);

// Thread safe.
class TieredStore : public KvStore {
 public:
  using MatchDone = std::function<void(absl::StatusOr<PrefixMatch>)>;

  // `store`, `l2`, `clock` and `metrics` (may be null) outlive it.
  TieredStore(LocalKvStore& store, L2Store& l2, const TierOptions& options, const Clock& clock, Metrics* metrics);
  ~TieredStore() override;  // answers whoever waits, from the store

  // Never blocks. Calls `done` exactly once: from within, or from a thread of ours, a little before `deadline`.
  // The lease ends with `session` (LocalKvStore::MatchPrefixIn); 0: with none.
  void MatchPrefixAsync(SessionId session, std::vector<BlockKey> keys, absl::Time deadline, MatchDone done);

  // Waits until what has been touched so far is in the L2 or given up, at most until `deadline` of the system's clock.
  bool Flush(absl::Time deadline) { return write_behind_.Flush(deadline); }

  absl::StatusOr<PrefixMatch> MatchPrefix(absl::Span<const BlockKey> keys, absl::Time deadline) override;
  absl::StatusOr<LeaseId> OpenPrivate(absl::Time deadline) override { return store_.OpenPrivate(deadline); }
  absl::StatusOr<std::vector<absl::Status>> Put(absl::Span<const PutItem> items, LeaseId lease,
                                                absl::Time deadline) override {
    return store_.Put(items, lease, deadline);
  }
  absl::StatusOr<std::vector<absl::Status>> Fetch(absl::Span<const FetchItem> items, LeaseId lease,
                                                  absl::Time deadline) override {
    return store_.Fetch(items, lease, deadline);
  }
  absl::Status Renew(LeaseId lease, absl::Time deadline) override { return store_.Renew(lease, deadline); }
  void Release(LeaseId lease) override { store_.Release(lease); }
  absl::StatusOr<StoreStats> Stats(absl::Time deadline) override { return store_.Stats(deadline); }
  const char* path() const override { return store_.path(); }

 private:
  // A call that wants more than the store has. The lease keeps what was matched while the rest is fetched.
  struct Call {
    SessionId session;
    std::vector<BlockKey> keys;
    PrefixMatch match;
    absl::Time promote_until;
    MatchDone done;
  };

  void Work();  // a thread
  // Matches again what was promoted, and answers.
  void Finish(Call call, bool promoted);
  void Answer(const Call& call, absl::StatusOr<PrefixMatch> match);
  void CountSkipped(const char* reason);

  LocalKvStore& store_;
  const TierOptions options_;
  const Clock& clock_;
  Metrics* const metrics_;
  Promoter promoter_;
  WriteBehind write_behind_;

  absl::Mutex mutex_;
  std::deque<Call> queue_ ABSL_GUARDED_BY(mutex_);
  // By the first missing key: the calls that wait for a promotion which is queued or under way.
  absl::flat_hash_map<BlockKey, std::vector<Call>> flights_ ABSL_GUARDED_BY(mutex_);
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;  // calls in queue_ and flights_
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> workers_;
};

// A TieredStore that owns both levels.
std::unique_ptr<KvStore> MakeTieredStore(std::unique_ptr<LocalKvStore> store, std::unique_ptr<L2Store> l2,
                                         const TierOptions& options, const Clock& clock, Metrics* metrics);

}  // namespace slimfill::kvstore
