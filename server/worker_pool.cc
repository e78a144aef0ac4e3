#include "server/worker_pool.h"

#include <utility>

#include "base/status.h"

namespace slimfill::server {

WorkerPool::WorkerPool(int threads, int64_t max_jobs, int64_t max_bytes) : max_jobs_(max_jobs), max_bytes_(max_bytes) {
  SLIMFILL_CHECK(threads > 0);
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
}

WorkerPool::~WorkerPool() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

bool WorkerPool::TryPost(int64_t bytes, std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  const bool fits =
      jobs_.empty() || (static_cast<int64_t>(jobs_.size()) < max_jobs_ && bytes <= max_bytes_ - queued_bytes_);
  if (!fits) return false;
  queued_bytes_ += bytes;
  jobs_.push_back({bytes, std::move(job)});
  return true;
}

void WorkerPool::Post(std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  jobs_.push_back({0, std::move(job)});
}

void WorkerPool::Loop() {
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stop_ || !jobs_.empty(); };
  while (true) {
    Job job;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&ready));
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      queued_bytes_ -= job.bytes;
    }
    job.run();
  }
}

}  // namespace slimfill::server
