// The services' way to the scheduler, which can be closed: the scheduler stops before the last RPC has ended.
#pragma once

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "scheduler/scheduler.h"

namespace slimfill::server {

// Thread safe.
class SchedulerGate {
 public:
  explicit SchedulerGate(scheduler::Scheduler& scheduler) : scheduler_(&scheduler) {}

  absl::StatusOr<scheduler::Admission> Submit(scheduler::Request request, std::shared_ptr<scheduler::EventSink> sink) {
    absl::ReaderMutexLock lock(&mutex_);
    if (scheduler_ == nullptr) return absl::UnavailableError("the server is shutting down: try another one");
    return scheduler_->Submit(std::move(request), std::move(sink));
  }

  void Cancel(scheduler::RequestId id) {
    absl::ReaderMutexLock lock(&mutex_);
    if (scheduler_ != nullptr) scheduler_->Cancel(id);
  }

  scheduler::Snapshot snapshot() const {
    absl::ReaderMutexLock lock(&mutex_);
    if (scheduler_ != nullptr) return scheduler_->snapshot();
    scheduler::Snapshot closed;
    closed.draining = true;
    return closed;
  }

  // Nothing reaches the scheduler any more when this has returned.
  void Close() {
    absl::MutexLock lock(&mutex_);
    scheduler_ = nullptr;
  }

 private:
  mutable absl::Mutex mutex_;
  scheduler::Scheduler* scheduler_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slimfill::server
