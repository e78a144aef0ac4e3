// Counts the calls being served, so that a stopping server ends as soon as the last one has.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace slimfill::kvstore {

// Thread safe.
class CallGate {
 public:
  // False once the gate is closed; otherwise Leave must follow.
  bool Enter() {
    absl::MutexLock lock(&mutex_);
    if (closed_) return false;
    ++inside_;
    return true;
  }
  void Leave() {
    absl::MutexLock lock(&mutex_);
    --inside_;
  }

  // Lets nobody in any more and waits until all have left, at most `patience`.
  void CloseAndWait(absl::Duration patience) {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    auto empty = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return inside_ == 0; };
    mutex_.AwaitWithTimeout(absl::Condition(&empty), patience);
  }

 private:
  absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  int inside_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace slimfill::kvstore
