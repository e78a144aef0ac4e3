#include "base/thread_pool.h"

#include "base/status.h"

namespace slimfill {

ThreadPool::ThreadPool(int threads) {
  SLIMFILL_CHECK(threads >= 1);
  workers_.reserve(threads - 1);
  for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { WorkerLoop(worker); });
}

ThreadPool::~ThreadPool() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Drain(Job& job, int worker) {
  while (true) {
    const int64_t index = job.next.fetch_add(1, std::memory_order_relaxed);
    if (index >= job.count) return;
    (*job.body)(index, worker);
  }
}

void ThreadPool::ParallelFor(int64_t count, const std::function<void(int64_t, int)>& body) {
  if (count <= 0) return;
  absl::MutexLock caller(&caller_mutex_);
  Job job{.body = &body, .count = count};
  if (workers_.empty() || count == 1) {
    Drain(job, 0);
    return;
  }
  {
    absl::MutexLock lock(&mutex_);
    job_ = &job;
    ++generation_;
    busy_ = static_cast<int>(workers_.size());
  }
  Drain(job, 0);
  absl::MutexLock lock(&mutex_);
  auto all_done = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return busy_ == 0; };
  mutex_.Await(absl::Condition(&all_done));
  job_ = nullptr;
}

void ThreadPool::WorkerLoop(int worker) {
  uint64_t seen = 0;
  while (true) {
    Job* job;
    {
      absl::MutexLock lock(&mutex_);
      auto wake = [this, &seen]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || generation_ != seen; };
      mutex_.Await(absl::Condition(&wake));
      if (stop_) return;
      seen = generation_;
      job = job_;
    }
    Drain(*job, worker);
    absl::MutexLock lock(&mutex_);
    --busy_;
  }
}

}  // namespace slimfill
