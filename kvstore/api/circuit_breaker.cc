#include "kvstore/api/circuit_breaker.h"

#include <algorithm>
#include <bit>

namespace slimfill::kvstore {

CircuitBreaker::Pass CircuitBreaker::TryEnter() {
  absl::MutexLock lock(&mutex_);
  if (state_ == State::kClosed) return Pass::kCall;
  if (state_ == State::kProbing || clock_.Now() < probe_at_) return Pass::kRefused;
  state_ = State::kProbing;
  return Pass::kProbe;
}

void CircuitBreaker::Report(Pass pass, Outcome outcome) {
  absl::MutexLock lock(&mutex_);
  if (pass == Pass::kCall) {
    // Calls that began before the breaker opened say nothing new: only a probe decides from then on.
    if (state_ == State::kClosed) CountCall(outcome);
  } else if (outcome == Outcome::kSuccess) {
    state_ = State::kClosed;
    failures_in_a_row_ = 0;
    recent_misses_ = 0;
    on_change_(true);
  } else {
    backoff_ = std::min(2 * backoff_, options_.max_backoff);
    Open();
  }
}

void CircuitBreaker::CountCall(Outcome outcome) {
  failures_in_a_row_ = outcome == Outcome::kSuccess ? 0 : failures_in_a_row_ + 1;
  recent_misses_ = static_cast<uint16_t>(recent_misses_ << 1 | (outcome == Outcome::kDeadlineMissed ? 1 : 0));
  if (failures_in_a_row_ < options_.failures_to_open && std::popcount(recent_misses_) < options_.misses_to_open) return;
  backoff_ = options_.first_backoff;
  Open();
  on_change_(false);
}

void CircuitBreaker::Open() {
  state_ = State::kOpen;
  probe_at_ = clock_.Now() + backoff_;
}

bool CircuitBreaker::closed() const {
  absl::MutexLock lock(&mutex_);
  return state_ == State::kClosed;
}

}  // namespace slimfill::kvstore
