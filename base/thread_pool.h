// The one compute pool: fork-join over a dynamic range, so that a core shared with another process does not hold up
// the rest (a static split of the same work does). Waking a sleeping thread costs as much as a whole op of decode, so
// whoever waits looks for new work for a moment before it sleeps.
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
  bool HasWork(uint64_t seen) const { return generation_.load(std::memory_order_acquire) != seen; }
  bool IsDone() const { return busy_.load(std::memory_order_acquire) == 0; }
  void WorkerLoop(int worker);
  static void Drain(Job& job, int worker);

  absl::Mutex caller_mutex_;  // held by the thread whose ParallelFor is running
  absl::Mutex mutex_;
  // Written under mutex_, so that sleepers see it; read without it by those that are still looking. A job is over only
  // when every worker has seen it, so no generation is missed.
  std::atomic<Job*> job_ = nullptr;
  std::atomic<uint64_t> generation_ = 0;
  std::atomic<int> busy_ = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> workers_;
};

}  // namespace slimfill
