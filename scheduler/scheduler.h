// The request scheduler: a bounded queue, admission, and the one engine thread that runs work units (prefill chunks and
// batched decode steps) chosen by a pure planner.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "engine/engine.h"

namespace slimfill::scheduler {

using RequestId = uint64_t;  // made here, never the caller's

struct Request {
  engine::SequenceRequest sequence;
  absl::Time arrival;  // when the RPC came in: TTFT counts from here
  absl::Time deadline = absl::InfiniteFuture();
  int priority = 0;      // higher runs first; equal ones in order of arrival
  std::string method;    // RPC name, for the log line
  std::string trace_id;  // from traceparent metadata, may be empty
};

struct Admission {
  RequestId id = 0;
  int64_t queue_position = 0;     // requests ahead in the queue
  absl::Duration predicted_ttft;  // InfiniteDuration while the cost model knows nothing yet
};

struct Progress {
  int stage = 0;  // 0-based
  int stages = 1;
  double fraction_done = 0;
  int64_t tokens_done = 0;  // fraction_done in prompt tokens, for people
  int64_t tokens_total = 0;
};

struct Timings {
  absl::Duration queue, prefill, ttft, total;  // prefill: wall from first chunk to first token; ttft from arrival
  absl::Duration mean_inter_token;             // zero with fewer than two tokens
};

struct Finished {
  engine::FinishReason reason = engine::FinishReason::kNone;
  int64_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  Timings timings;
  engine::PrefillReport prefill;
  engine::DecodeReport decode;
  // What the same prompt, with the same tokens stored and the same waiting for others, would have taken without
  // pruning: by the cost model, at the pace this request's own chunks had. Absent while the model's error is above 10
  // %. Equal to timings.ttft, without error, when the prompt was not pruned.
  std::optional<absl::Duration> dense_equivalent_ttft;
  double dense_equivalent_error = 0;  // the model's mean absolute relative error now
};

// Where a request's events go. Called from the scheduler's thread, in order: OnStarted, OnProgress*, OnToken*, then
// exactly one of OnFinished or OnFailed (which may also come first), after which the scheduler drops the sink. By then
// the request holds nothing of the engine any more. Must return at once and must not call the scheduler.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnStarted(int64_t cached_tokens) = 0;  // left the queue
  virtual void OnProgress(const Progress& progress) = 0;
  virtual void OnToken(const engine::TokenEvent& token) = 0;
  virtual void OnFinished(const Finished& finished) = 0;
  // CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE (shut down), INTERNAL, or INVALID_ARGUMENT where the
  // engine finds at its start what validation could not see.
  virtual void OnFailed(const absl::Status& status) = 0;
};

struct SchedulerOptions {
  int64_t max_queued_requests = 256;
  int64_t max_queued_prompt_tokens = 4 * 1024 * 1024;
  int max_running = 8;                   // sequences in prefill or decode, at least 1
  double randomized_dense_share = 0.01;  // eligible AUTO requests that run dense, for the honest speedup figure
  uint64_t seed = 0;                     // of that draw
  absl::Duration progress_interval = absl::Milliseconds(250);
  // How much of the time without requests goes into making later ones faster (Engine::RunIdleChunk); 0: none. It begins
  // some time after the last request, which is often followed by another.
  double idle_share = 0.5;
  absl::Duration idle_delay = absl::Seconds(1);
  // Called once, on the engine thread, when the engine's device has failed (Engine::Health) and every request has been
  // ended with that error. Requests that come later fail, too: the process should end.
  std::function<void(const absl::Status&)> on_engine_failure;
};

struct Snapshot {
  int64_t queued = 0, running = 0, queued_prompt_tokens = 0;
  int64_t finished = 0;  // with whatever outcome, since start
  bool draining = false;
};

// Thread safe.
class Scheduler {
 public:
  // Borrows all; they must outlive the scheduler. Starts the engine thread.
  static std::unique_ptr<Scheduler> Create(const SchedulerOptions& options, engine::Engine& engine, Clock& clock,
                                           Metrics& metrics);
  virtual ~Scheduler() = default;  // fails what is left with UNAVAILABLE and joins the thread

  // Admits or refuses at once; never blocks on the engine. INVALID_ARGUMENT (Engine::Validate, or the request can never
  // fit), RESOURCE_EXHAUSTED (queue full), DEADLINE_EXCEEDED (predicted TTFT is past the deadline; says both),
  // UNAVAILABLE (draining). After an error the sink is never called.
  virtual absl::StatusOr<Admission> Submit(Request request, std::shared_ptr<EventSink> sink) = 0;

  // Ends a request at the next chunk or step with CANCELLED. Unknown or finished ids are ignored.
  virtual void Cancel(RequestId id) = 0;

  // Refuses new requests and waits until all others have finished or `deadline` passes; true when all did.
  virtual bool Drain(absl::Time deadline) = 0;

  virtual Snapshot snapshot() const = 0;
};

}  // namespace slimfill::scheduler
