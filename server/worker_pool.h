// Threads for work that gRPC's own threads must not do: parsing and tokenising long prompts.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace slimfill::server {

// Thread safe.
class WorkerPool {
 public:
  // Holds at most `max_jobs` waiting jobs whose sizes sum up to at most `max_bytes`.
  WorkerPool(int threads, int64_t max_jobs, int64_t max_bytes);
  ~WorkerPool();  // runs what is queued, then joins
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Queues `job`; false, without running it, when the queue is full. A job of any size fits an empty queue.
  bool TryPost(int64_t bytes, std::function<void()> job);
  // Queues a small job beyond the bound; for clean-up that must happen.
  void Post(std::function<void()> job);

 private:
  struct Job {
    int64_t bytes;
    std::function<void()> run;
  };
  void Loop();

  const int64_t max_jobs_;
  const int64_t max_bytes_;
  absl::Mutex mutex_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  int64_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace slimfill::server
