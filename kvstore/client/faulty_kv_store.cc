#include "kvstore/client/faulty_kv_store.h"

#include <utility>

#include "base/status.h"
#include "kvstore/api/limits.h"

namespace slimfill::kvstore {

using Kind = Fault::Kind;

FaultyKvStore::FaultyKvStore(KvStore& store, const Clock& clock, std::function<void(absl::Duration)> pass_time)
    : store_(store), clock_(clock), pass_time_(std::move(pass_time)) {}

void FaultyKvStore::Script(Operation operation, const Fault& fault, int times) {
  absl::MutexLock lock(&mutex_);
  scripted_[operation].insert(scripted_[operation].end(), times, fault);
}

void FaultyKvStore::Randomize(uint32_t seed, double probability, std::vector<Fault> faults) {
  absl::MutexLock lock(&mutex_);
  random_.seed(seed);
  probability_ = probability;
  faults_ = std::move(faults);
}

void FaultyKvStore::Heal() {
  absl::MutexLock lock(&mutex_);
  scripted_.clear();
  probability_ = 0;
}

int FaultyKvStore::injected() const {
  absl::MutexLock lock(&mutex_);
  return injected_;
}

Fault FaultyKvStore::Next(Operation operation) {
  absl::MutexLock lock(&mutex_);
  Fault fault;
  std::deque<Fault>& scripted = scripted_[operation];
  if (!scripted.empty()) {
    fault = scripted.front();
    scripted.pop_front();
  } else if (!faults_.empty() && std::bernoulli_distribution(probability_)(random_)) {
    fault = faults_[random_() % faults_.size()];
  }
  if (fault.kind != Kind::kNone) ++injected_;
  return fault;
}

size_t FaultyKvStore::Below(size_t limit) {
  absl::MutexLock lock(&mutex_);
  return random_() % limit;
}

absl::Status FaultyKvStore::Suffer(const Fault& fault, absl::Time deadline) {
  if (fault.kind == Kind::kError) return absl::Status(fault.code, "injected fault");
  if (fault.kind == Kind::kSlow) pass_time_(fault.delay);
  if (fault.kind == Kind::kHang && deadline != absl::InfiniteFuture()) pass_time_(deadline - clock_.Now());
  if (fault.kind == Kind::kHang || clock_.Now() >= deadline) return DeadlineExpired();
  return absl::OkStatus();
}

absl::StatusOr<PrefixMatch> FaultyKvStore::MatchPrefix(absl::Span<const BlockKey> keys, absl::Time deadline) {
  const Fault fault = Next(Operation::kMatchPrefix);
  SLIMFILL_RETURN_IF_ERROR(Suffer(fault, deadline));
  if (fault.kind == Kind::kMiss) return PrefixMatch{};
  return store_.MatchPrefix(keys, deadline);
}

absl::StatusOr<LeaseId> FaultyKvStore::OpenPrivate(absl::Time deadline) {
  SLIMFILL_RETURN_IF_ERROR(Suffer(Next(Operation::kOpenPrivate), deadline));
  return store_.OpenPrivate(deadline);
}

absl::StatusOr<std::vector<absl::Status>> FaultyKvStore::Put(absl::Span<const PutItem> items, LeaseId lease,
                                                             absl::Time deadline) {
  const Fault fault = Next(Operation::kPut);
  SLIMFILL_RETURN_IF_ERROR(Suffer(fault, deadline));
  if (fault.kind == Kind::kLostPut) return std::vector<absl::Status>(items.size());
  return store_.Put(items, lease, deadline);
}

absl::StatusOr<std::vector<absl::Status>> FaultyKvStore::Fetch(absl::Span<const FetchItem> items, LeaseId lease,
                                                               absl::Time deadline) {
  const Fault fault = Next(Operation::kFetch);
  SLIMFILL_RETURN_IF_ERROR(Suffer(fault, deadline));
  if (fault.kind == Kind::kMiss) {
    return std::vector<absl::Status>(items.size(), absl::NotFoundError("injected miss"));
  }
  if (fault.kind != Kind::kBitFlip || items.empty()) return store_.Fetch(items, lease, deadline);
  // The unlucky item is left out of the real call, so that its destination stays untouched.
  const size_t unlucky = Below(items.size());
  std::vector<FetchItem> others(items.begin(), items.end());
  others.erase(others.begin() + static_cast<ptrdiff_t>(unlucky));
  SLIMFILL_ASSIGN_OR_RETURN(std::vector<absl::Status> statuses, store_.Fetch(others, lease, deadline));
  statuses.insert(statuses.begin() + static_cast<ptrdiff_t>(unlucky), absl::DataLossError("injected bit flip"));
  return statuses;
}

absl::Status FaultyKvStore::Renew(LeaseId lease, absl::Time deadline) {
  SLIMFILL_RETURN_IF_ERROR(Suffer(Next(Operation::kRenew), deadline));
  return store_.Renew(lease, deadline);
}

void FaultyKvStore::Release(LeaseId lease) {
  if (Suffer(Next(Operation::kRelease), absl::InfiniteFuture()).ok()) store_.Release(lease);
}

absl::StatusOr<StoreStats> FaultyKvStore::Stats(absl::Time deadline) {
  SLIMFILL_RETURN_IF_ERROR(Suffer(Next(Operation::kStats), deadline));
  return store_.Stats(deadline);
}

}  // namespace slimfill::kvstore
