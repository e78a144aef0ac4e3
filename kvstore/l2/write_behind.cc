#include "kvstore/l2/write_behind.h"

#include <algorithm>
#include <utility>

#include "base/metric_names.h"

namespace slimfill::kvstore {

WriteBehind::WriteBehind(LocalKvStore& store, L2Store& l2, const WriteBehindOptions& options, const Clock& clock,
                         Metrics* metrics)
    : store_(store),
      l2_(l2),
      options_(options),
      clock_(clock),
      metrics_(metrics),
      known_(options.known_keys, options.known_for) {
  if (metrics_ != nullptr) metrics_->Set(metric::kKvL2Queue, 0);
  writer_ = std::thread([this] { Run(); });
}

WriteBehind::~WriteBehind() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  writer_.join();
}

void WriteBehind::Touch(absl::Span<const BlockKey> keys) {
  const absl::Time now = clock_.Now();
  size_t dropped = 0;
  {
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < keys.size(); ++i) {
      if (!known_.Insert(keys[i], now)) continue;
      if (queue_.size() < options_.max_queue) {
        queue_.push_back({keys[i], i == 0 ? BlockKey{} : keys[i - 1]});
      } else {
        known_.Erase(keys[i]);
        ++dropped;
      }
    }
    if (metrics_ != nullptr) metrics_->Set(metric::kKvL2Queue, static_cast<double>(queue_.size()));
  }
  if (dropped > 0) Count("queue_full", dropped);
}

void WriteBehind::MarkKnown(absl::Span<const BlockKey> keys) {
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mutex_);
  for (const BlockKey& key : keys) known_.Insert(key, now);
}

void WriteBehind::Forget(absl::Span<const BlockKey> keys) {
  absl::MutexLock lock(&mutex_);
  for (const BlockKey& key : keys) known_.Erase(key);
}

bool WriteBehind::Flush(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return queue_.empty() && !writing_; };
  return mutex_.AwaitWithDeadline(absl::Condition(&idle), deadline);
}

void WriteBehind::Run() {
  while (true) {
    std::vector<Job> jobs = TakeJobs();
    if (jobs.empty()) return;
    while (!jobs.empty()) WriteBatch(jobs);
  }
}

std::vector<WriteBehind::Job> WriteBehind::TakeJobs() {
  constexpr size_t kMaxJobs = 64;
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  auto needed = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !queue_.empty(); };
  mutex_.Await(absl::Condition(&needed));
  std::vector<Job> jobs;
  if (stop_) return jobs;
  for (; !queue_.empty() && jobs.size() < kMaxJobs; queue_.pop_front()) jobs.push_back(std::move(queue_.front()));
  writing_ = true;
  if (metrics_ != nullptr) metrics_->Set(metric::kKvL2Queue, static_cast<double>(queue_.size()));
  return jobs;
}

void WriteBehind::WriteBatch(std::vector<Job>& jobs) {
  std::vector<LocalKvStore::Whole> values;  // keeps their memory while they are written
  std::vector<L2Write> writes;
  uint64_t bytes = 0;
  size_t taken = 0;
  for (; taken < jobs.size() && bytes < options_.batch_bytes; ++taken) {
    const Job& job = jobs[taken];
    absl::StatusOr<LocalKvStore::Whole> value = store_.ReadWhole(job.key);
    if (!value.ok()) {  // evicted since, or damaged
      Count("gone");
      absl::MutexLock lock(&mutex_);
      known_.Erase(job.key);
      continue;
    }
    const BlockKey& parent = value->parent != BlockKey{} ? value->parent : job.predecessor;
    writes.push_back({job.key, parent, value->tenant, value->range.bytes});
    bytes += value->range.bytes.size();
    values.push_back(*std::move(value));
  }
  jobs.erase(jobs.begin(), jobs.begin() + static_cast<ptrdiff_t>(taken));
  if (writes.empty()) return;
  const std::vector<absl::Status> statuses = l2_.Put(writes, clock_.Now() + options_.write_time);
  for (size_t i = 0; i < writes.size(); ++i) {
    const bool refused = absl::IsResourceExhausted(statuses[i]);
    Count(statuses[i].ok() ? "stored" : (refused ? "refused" : "failed"));
    // A node without room would refuse it again at the next touch: it is not asked before the key is forgotten.
    if (statuses[i].ok() || refused) continue;
    absl::MutexLock lock(&mutex_);
    known_.Erase(writes[i].key);
  }
}

void WriteBehind::Count(const char* outcome, size_t blocks) {
  if (metrics_ != nullptr) metrics_->Add(metric::kKvL2Writes, {outcome}, static_cast<double>(blocks));
}

}  // namespace slimfill::kvstore
