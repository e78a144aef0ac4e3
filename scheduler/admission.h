// Whether a request may join the queue: a pure decision, made before anything is spent on the request.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace slimfill::scheduler {

struct AdmissionInput {
  // The scheduler now.
  bool draining = false;
  int64_t queued_requests = 0, max_queued_requests = 0;
  int64_t queued_prompt_tokens = 0, max_queued_prompt_tokens = 0;
  int64_t pages_total = 0;
  // The request.
  int64_t prompt_tokens = 0;
  int64_t pages = 0;                                         // at its peak
  absl::Duration time_left = absl::InfiniteDuration();       // until its deadline
  absl::Duration predicted_wait = absl::InfiniteDuration();  // from now to the first token; infinite: not known
  double prediction_error = 1;                               // mean relative error of such predictions
};

struct Refusal {
  const char* reason;  // label of kAdmissionRejections
  absl::Status status;
};

// Absent: admitted. UNAVAILABLE while draining; RESOURCE_EXHAUSTED when the queue is full or the request can never fit;
// DEADLINE_EXCEEDED when the deadline has passed, or the prediction is beyond it by more than the prediction's own
// error.
std::optional<Refusal> CheckAdmission(const AdmissionInput& input);

}  // namespace slimfill::scheduler
