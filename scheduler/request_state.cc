#include "scheduler/request_state.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace slimfill::scheduler {
namespace {

// Arrival is the caller's reading of the clock; a wall clock may also step back.
absl::Duration Between(absl::Time from, absl::Time to) { return std::max(to - from, absl::ZeroDuration()); }

}  // namespace

const char* PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kQueued:
      return "queue";
    case Phase::kPrefill:
      return "prefill";
    case Phase::kDecode:
      return "decode";
    case Phase::kEnded:
      break;
  }
  return "ended";
}

RequestState::RequestState(RequestId id, Request request, std::shared_ptr<EventSink> sink)
    : id(id),
      request(std::move(request)),
      sink(std::move(sink)),
      prompt_tokens(static_cast<int64_t>(this->request.sequence.prompt.size())) {}

double RequestState::remaining_share() const {
  if (prompt_tokens == 0) return 0;
  return static_cast<double>(prompt_tokens - cached_tokens) / static_cast<double>(prompt_tokens) * (1 - fraction_done);
}

int64_t RequestState::remaining_tokens() const {
  return std::max<int64_t>(1, std::llround(std::ceil(remaining_share() * static_cast<double>(prompt_tokens))));
}

Timings RequestState::timings() const {
  Timings timings;
  const bool was_started = started != absl::InfinitePast();
  timings.queue = Between(request.arrival, was_started ? started : ended);
  if (output_tokens > 0) {
    timings.prefill = Between(started, first_token);
    timings.ttft = Between(request.arrival, first_token);
  }
  timings.total = Between(request.arrival, ended);
  if (output_tokens > 1) timings.mean_inter_token = Between(first_token, last_token) / (output_tokens - 1);
  return timings;
}

}  // namespace slimfill::scheduler
