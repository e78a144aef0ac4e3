// The one compute pool: fork-join over a dynamic range, so that a core shared with another process does not hold up
// the rest (a static split of the same work does).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace slimfill {

class ThreadPool {
 public:
  // `threads` counts the caller's own thread, which takes part in every ParallelFor: 1 means no worker threads.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Runs body(index, worker) for every index in [0, count), worker in [0, threads()), and returns when all are done.
  // Indices are handed out in increasing order as workers become free. One ParallelFor at a time: calls from several
  // threads take turns. Not reentrant: `body` must not call ParallelFor on the same pool.
  void ParallelFor(int64_t count, const std::function<void(int64_t index, int worker)>& body);

 private:
  struct Job {
    const std::function<void(int64_t, int)>* body;
    int64_t count;
    std::atomic<int64_t> next{0};
  };
  void WorkerLoop(int worker);
  static void Drain(Job& job, int worker);

  absl::Mutex caller_mutex_;  // held by the thread whose ParallelFor is running
  absl::Mutex mutex_;
  Job* job_ ABSL_GUARDED_BY(mutex_) = nullptr;
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
  int busy_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> workers_;
};

}  // namespace slimfill
