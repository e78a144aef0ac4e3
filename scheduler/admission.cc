#include "scheduler/admission.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace slimfill::scheduler {
namespace {

std::string Seconds(absl::Duration duration) { return absl::StrFormat("%.3f s", absl::ToDoubleSeconds(duration)); }

std::optional<Refusal> CheckQueue(const AdmissionInput& input) {
  if (input.queued_requests >= input.max_queued_requests) {
    return Refusal{"queue_full",
                   absl::ResourceExhaustedError(absl::StrCat(
                       "the queue holds ", input.queued_requests, " requests, its limit is ", input.max_queued_requests,
                       ": try again later or start the server with a higher --max-queue"))};
  }
  // One prompt is always let into an empty queue: it could never run otherwise.
  if (input.queued_prompt_tokens > 0 &&
      input.prompt_tokens > input.max_queued_prompt_tokens - input.queued_prompt_tokens) {
    return Refusal{"queue_tokens",
                   absl::ResourceExhaustedError(
                       absl::StrCat("the queue holds ", input.queued_prompt_tokens, " prompt tokens and this request ",
                                    input.prompt_tokens, ", their limit is ", input.max_queued_prompt_tokens,
                                    ": try again later or start the server with a higher --max-queue-tokens"))};
  }
  return std::nullopt;
}

std::optional<Refusal> CheckDeadline(const AdmissionInput& input) {
  if (input.time_left <= absl::ZeroDuration()) {
    return Refusal{"deadline",
                   absl::DeadlineExceededError(absl::StrCat("the deadline passed ", Seconds(-input.time_left),
                                                            " before the request was admitted: allow more time"))};
  }
  if (input.predicted_wait == absl::InfiniteDuration()) return std::nullopt;
  const double at_least = 1 - std::clamp(input.prediction_error, 0.0, 1.0);
  if (input.predicted_wait * at_least <= input.time_left) return std::nullopt;
  return Refusal{"deadline",
                 absl::DeadlineExceededError(absl::StrCat(
                     "the first token is predicted in ", Seconds(input.predicted_wait), ", the deadline is in ",
                     Seconds(input.time_left), ": allow more time, shorten the prompt or try a less busy server"))};
}

}  // namespace

std::optional<Refusal> CheckAdmission(const AdmissionInput& input) {
  if (input.draining) {
    return Refusal{"draining", absl::UnavailableError("the server is shutting down: try again on another one")};
  }
  if (input.pages > input.pages_total) {
    return Refusal{"pages",
                   // It can never run here: no reason to try again.
                   absl::InvalidArgumentError(absl::StrCat(
                       "the request may need ", input.pages, " KV pages, the engine has ", input.pages_total,
                       ": shorten the prompt, lower max_tokens or start the server with a higher --kv-pages-memory"))};
  }
  if (std::optional<Refusal> refusal = CheckQueue(input); refusal.has_value()) return refusal;
  return CheckDeadline(input);
}

}  // namespace slimfill::scheduler
