// One request between Submit and its terminal event.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/time/time.h"
#include "engine/engine.h"
#include "scheduler/planner.h"
#include "scheduler/scheduler.h"
#include "scheduler/speedup.h"

namespace slimfill::scheduler {

enum class Phase { kQueued, kPrefill, kDecode, kEnded };
const char* PhaseName(Phase phase);  // "queue", "prefill", "decode", "ended"

// Made by Intake::Submit, then owned and changed by the engine thread alone.
struct RequestState {
  RequestState(RequestId id, Request request, std::shared_ptr<EventSink> sink);

  // Constant after construction, but for `request.sequence.prompt`, which is released when the engine has it, and
  // `sink`, dropped with the terminal event.
  const RequestId id;
  Request request;
  std::shared_ptr<EventSink> sink;
  const int64_t prompt_tokens;
  int64_t pages = 0;  // that it may need at its peak
  Arm arm = Arm::kNone;

  Phase phase = Phase::kQueued;
  bool cancelled = false;
  bool blocked = false;  // see PrefillCandidate
  int passed_over = 0;   // likewise
  std::unique_ptr<engine::Sequence> sequence;

  // Prefill.
  absl::Time started = absl::InfinitePast();  // the first chunk; infinite past: never
  int64_t cached_tokens = 0;
  double fraction_done = 0;
  double compute_seconds = 0;
  engine::PrefillWork work;
  int last_stage = 0;
  absl::Time last_progress;

  // Decode.
  absl::Time first_token, last_token;
  int64_t output_tokens = 0;

  // Filled when it ends, from the sequence.
  engine::PrefillReport prefill_report;
  engine::DecodeReport decode_report;
  absl::Time ended;

  Rank rank() const { return {request.priority, id}; }
  bool running() const { return phase == Phase::kPrefill || phase == Phase::kDecode; }
  double remaining_share() const;    // of the prefill that was estimated: what is neither stored nor done
  int64_t remaining_tokens() const;  // the same in prompt tokens, at least 1
  Timings timings() const;           // what never happened is zero
};

}  // namespace slimfill::scheduler
