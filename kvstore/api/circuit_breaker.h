// Keeps a failing KV store from costing every request its deadline: after a few failures calls are refused at once, and
// single probes, further and further apart, find out when the store is back.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace slimfill::kvstore {

// Thread safe.
class CircuitBreaker {
 public:
  struct Options {
    int failures_to_open = 3;  // in a row
    int misses_to_open = 8;    // missed deadlines among the last 16 calls
    absl::Duration first_backoff = absl::Milliseconds(500);
    absl::Duration max_backoff = absl::Seconds(8);
  };
  enum class Pass { kRefused, kCall, kProbe };
  enum class Outcome { kSuccess, kFailure, kDeadlineMissed };

  // `on_change` hears of every opening (false) and closing (true), in order; it must not call the breaker. `clock`
  // outlives the breaker.
  CircuitBreaker(const Options& options, const Clock& clock, std::function<void(bool closed)> on_change)
      : options_(options), clock_(clock), on_change_(std::move(on_change)) {}

  // Whether a call may go ahead. Every pass but kRefused must be reported when the call has ended.
  Pass TryEnter();
  void Report(Pass pass, Outcome outcome);

  bool closed() const;

 private:
  enum class State { kClosed, kOpen, kProbing };

  void Open() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountCall(Outcome outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const Clock& clock_;
  const std::function<void(bool closed)> on_change_;

  mutable absl::Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kClosed;
  int failures_in_a_row_ ABSL_GUARDED_BY(mutex_) = 0;
  uint16_t recent_misses_ ABSL_GUARDED_BY(mutex_) = 0;  // a bit per call, the latest in bit 0
  absl::Duration backoff_ ABSL_GUARDED_BY(mutex_);
  absl::Time probe_at_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slimfill::kvstore
