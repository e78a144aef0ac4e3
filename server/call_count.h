// How many RPCs are under way. Shutting gRPC down while an answer is on its way can reset the connection, and the
// client loses the answer's end: the server first waits for this to reach zero.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace slimfill::server {

// Thread safe.
class CallCount {
 public:
  void Begin() {
    absl::MutexLock lock(&mutex_);
    ++calls_;
  }
  void End() {
    absl::MutexLock lock(&mutex_);
    --calls_;
  }
  // False when some are still under way after `timeout`.
  bool WaitForNone(absl::Duration timeout) const {
    absl::MutexLock lock(&mutex_);
    const auto none = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return calls_ == 0; };
    return mutex_.AwaitWithTimeout(absl::Condition(&none), timeout);
  }

 private:
  mutable absl::Mutex mutex_;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace slimfill::server
