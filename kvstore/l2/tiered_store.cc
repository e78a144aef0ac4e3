#include "kvstore/l2/tiered_store.h"

#include <algorithm>
#include <utility>

#include "absl/synchronization/notification.h"
#include "base/metric_names.h"
#include "base/status.h"

namespace slimfill::kvstore {
namespace {

constexpr double kPromotionShare = 0.8;  // of a call's time; the rest is for its answer

struct Levels {
  std::unique_ptr<LocalKvStore> store;
  std::unique_ptr<L2Store> l2;
};

class OwningTieredStore final : private Levels, public TieredStore {  // the levels outlive the tier
 public:
  OwningTieredStore(Levels levels, const TierOptions& options, const Clock& clock, Metrics* metrics)
      : Levels(std::move(levels)), TieredStore(*store, *l2, options, clock, metrics) {}
};

}  // namespace

TierOptions MakeTierOptions(absl::Duration ttl) {
  TierOptions options;
  options.write_behind.known_for = ttl / 2;
  return options;
}

TieredStore::TieredStore(LocalKvStore& store, L2Store& l2, const TierOptions& options, const Clock& clock,
                         Metrics* metrics)
    : store_(store),
      options_(options),
      clock_(clock),
      metrics_(metrics),
      promoter_(store, l2, options.promoter, clock, metrics),
      write_behind_(store, l2, options.write_behind, clock, metrics) {
  SLIMFILL_CHECK(options_.promotions > 0);
  for (int i = 0; i < options_.promotions; ++i) workers_.emplace_back([this] { Work(); });
}

TieredStore::~TieredStore() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  for (std::thread& worker : workers_) worker.join();
}

absl::StatusOr<PrefixMatch> TieredStore::MatchPrefix(absl::Span<const BlockKey> keys, absl::Time deadline) {
  absl::StatusOr<PrefixMatch> result;
  absl::Notification answered;
  MatchPrefixAsync(/*session=*/0, {keys.begin(), keys.end()}, deadline, [&](absl::StatusOr<PrefixMatch> match) {
    result = std::move(match);
    answered.Notify();
  });
  answered.WaitForNotification();  // ends: every promotion has a deadline
  return result;
}

void TieredStore::MatchPrefixAsync(SessionId session, std::vector<BlockKey> keys, absl::Time deadline, MatchDone done) {
  absl::StatusOr<PrefixMatch> match = store_.MatchPrefixIn(session, keys, deadline);
  Call call{.session = session, .keys = std::move(keys), .done = std::move(done)};
  if (!match.ok() || match->blocks == static_cast<int64_t>(call.keys.size())) return Answer(call, std::move(match));
  call.match = *match;
  const absl::Time now = clock_.Now();
  call.promote_until = now + std::min(kPromotionShare * (deadline - now), options_.max_promotion_time);
  const BlockKey missing = call.keys[match->blocks];
  {
    absl::MutexLock lock(&mutex_);
    if (!stop_ && waiting_ < options_.max_waiting) {
      ++waiting_;
      const auto [flight, first] = flights_.try_emplace(missing);
      if (first) {
        queue_.push_back(std::move(call));
      } else {
        flight->second.push_back(std::move(call));
      }
      return;
    }
  }
  CountSkipped("busy");
  Answer(call, std::move(match));
}

void TieredStore::Work() {
  while (true) {
    Call call;
    {
      absl::MutexLock lock(&mutex_);
      auto needed = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !queue_.empty(); };
      mutex_.Await(absl::Condition(&needed));
      if (queue_.empty()) return;  // stopped, and everybody has an answer
      call = std::move(queue_.front());
      queue_.pop_front();
      if (stop_) call.promote_until = absl::InfinitePast();
    }
    const BlockKey missing = call.keys[call.match.blocks];
    int64_t promoted = 0;
    if (clock_.Now() < call.promote_until) {
      const absl::Span<const BlockKey> wanted = absl::MakeConstSpan(call.keys).subspan(call.match.blocks);
      promoted = promoter_.Promote(wanted, call.promote_until);
      write_behind_.MarkKnown(wanted.first(promoted));
      write_behind_.Forget(wanted.subspan(promoted));
    } else {
      CountSkipped("no_time");
    }
    std::vector<Call> others;
    {
      absl::MutexLock lock(&mutex_);
      others = std::move(flights_.extract(missing).mapped());
      waiting_ -= 1 + others.size();
    }
    Finish(std::move(call), promoted > 0);
    for (Call& other : others) Finish(std::move(other), promoted > 0);
  }
}

void TieredStore::Finish(Call call, bool promoted) {
  if (promoted) {
    const absl::StatusOr<PrefixMatch> match = store_.MatchPrefixIn(call.session, call.keys, absl::InfiniteFuture());
    if (match.ok() && match->blocks > call.match.blocks) {
      store_.Release(call.match.lease);
      call.match = *match;
    } else if (match.ok()) {
      store_.Release(match->lease);
    }
  }
  Answer(call, call.match);
}

void TieredStore::Answer(const Call& call, absl::StatusOr<PrefixMatch> match) {
  if (match.ok()) write_behind_.Touch(absl::MakeConstSpan(call.keys).first(match->blocks));
  call.done(std::move(match));
}

std::unique_ptr<KvStore> MakeTieredStore(std::unique_ptr<LocalKvStore> store, std::unique_ptr<L2Store> l2,
                                         const TierOptions& options, const Clock& clock, Metrics* metrics) {
  return std::make_unique<OwningTieredStore>(Levels{std::move(store), std::move(l2)}, options, clock, metrics);
}

void TieredStore::CountSkipped(const char* reason) {
  if (metrics_ != nullptr) metrics_->Add(metric::kKvL2Skipped, {reason});
}

}  // namespace slimfill::kvstore
