#include "base/thread_pool.h"

#include <chrono>

#include "base/status.h"

namespace slimfill {
namespace {

constexpr std::chrono::microseconds kLookFor(100);

// A moment's rest for the core's other thread and the memory bus.
void Pause() {
#if defined(__x86_64__)
  for (int i = 0; i < 32; ++i) __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Whether `condition` comes true within kLookFor.
template <typename Condition>
bool Soon(const Condition& condition) {
  if (condition()) return true;
  const auto end = std::chrono::steady_clock::now() + kLookFor;
  while (std::chrono::steady_clock::now() < end) {
    Pause();
    if (condition()) return true;
  }
  return false;
}

}  // namespace

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
    job_.store(&job, std::memory_order_relaxed);
    busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
  }
  Drain(job, 0);
  if (Soon([this] { return IsDone(); })) return;
  absl::MutexLock lock(&mutex_);
  auto all_done = [this] { return IsDone(); };
  mutex_.Await(absl::Condition(&all_done));
}

void ThreadPool::WorkerLoop(int worker) {
  for (uint64_t seen = 0;; ++seen) {
    if (!Soon([this, seen] { return HasWork(seen); })) {
      absl::MutexLock lock(&mutex_);
      auto wake = [this, seen]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || HasWork(seen); };
      mutex_.Await(absl::Condition(&wake));
      if (stop_) return;
    }
    Drain(*job_.load(std::memory_order_relaxed), worker);
    absl::MutexLock lock(&mutex_);  // wakes the caller, should it sleep
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace slimfill
