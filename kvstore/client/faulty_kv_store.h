// A KV store that misbehaves on demand, for tests of whoever uses one. Every fault keeps the contract of KvStore: it is
// what a real store shows its user when things go wrong.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <random>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::kvstore {

struct Fault {
  enum class Kind {
    kNone,
    kError,    // the call fails with `code`
    kHang,     // the call uses all its time and ends with DEADLINE_EXCEEDED
    kMiss,     // MatchPrefix and Fetch find nothing
    kBitFlip,  // one fetched item's checksum does not hold: DATA_LOSS
    kLostPut,  // Put says OK and stores nothing
    kSlow,     // the call takes `delay` longer
  };
  Kind kind = Kind::kNone;
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  absl::Duration delay;
};

// Thread safe.
class FaultyKvStore final : public KvStore {
 public:
  enum class Operation { kMatchPrefix, kOpenPrivate, kPut, kFetch, kRenew, kRelease, kStats };

  // `pass_time` lets time go by: FakeClock::Advance, or a real sleep. `store` and `clock` outlive this.
  FaultyKvStore(KvStore& store, const Clock& clock, std::function<void(absl::Duration)> pass_time);

  // The operation's next `times` calls meet the fault, after those scripted before.
  void Script(Operation operation, const Fault& fault, int times = 1);
  // Every call without a scripted fault meets one of `faults` with this probability.
  void Randomize(uint32_t seed, double probability, std::vector<Fault> faults);
  // No more faults.
  void Heal();
  int injected() const;  // faults that calls have met

  absl::StatusOr<PrefixMatch> MatchPrefix(absl::Span<const BlockKey> keys, absl::Time deadline) override;
  absl::StatusOr<LeaseId> OpenPrivate(absl::Time deadline) override;
  absl::StatusOr<std::vector<absl::Status>> Put(absl::Span<const PutItem> items, LeaseId lease,
                                                absl::Time deadline) override;
  absl::StatusOr<std::vector<absl::Status>> Fetch(absl::Span<const FetchItem> items, LeaseId lease,
                                                  absl::Time deadline) override;
  absl::Status Renew(LeaseId lease, absl::Time deadline) override;
  void Release(LeaseId lease) override;
  absl::StatusOr<StoreStats> Stats(absl::Time deadline) override;
  const char* path() const override { return store_.path(); }

 private:
  Fault Next(Operation operation);
  // What the fault does to any operation; OK when the call should go on.
  absl::Status Suffer(const Fault& fault, absl::Time deadline);
  size_t Below(size_t limit);

  KvStore& store_;
  const Clock& clock_;
  const std::function<void(absl::Duration)> pass_time_;

  mutable absl::Mutex mutex_;
  std::map<Operation, std::deque<Fault>> scripted_ ABSL_GUARDED_BY(mutex_);
  std::mt19937 random_ ABSL_GUARDED_BY(mutex_);
  double probability_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Fault> faults_ ABSL_GUARDED_BY(mutex_);
  int injected_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace slimfill::kvstore
