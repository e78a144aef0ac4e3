// The scheduler's thread-safe front: admits requests, hands them and cancellations to the engine thread, and keeps the
// ledger of live requests from which admission predicts.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "engine/engine.h"
#include "scheduler/admission.h"
#include "scheduler/cost_model.h"
#include "scheduler/request_state.h"
#include "scheduler/scheduler.h"

namespace slimfill::scheduler {

class Intake {
 public:
  // Borrows all; they must outlive it.
  Intake(const SchedulerOptions& options, engine::Engine& engine, Clock& clock, Metrics& metrics);

  // Any thread; as Scheduler says.
  absl::StatusOr<Admission> Submit(Request request, std::shared_ptr<EventSink> sink);
  void Cancel(RequestId id);
  bool Drain(absl::Time deadline);
  void Stop();  // from now on nothing is admitted and Batch::stopping is set
  Snapshot snapshot() const;

  // Engine thread.
  struct Batch {
    std::vector<std::unique_ptr<RequestState>> arrived;  // in order of arrival
    std::vector<RequestId> cancelled;                    // of these or earlier ones; may have ended since
    bool stopping = false;
  };
  Batch Take();                              // does not wait
  void WaitForWork(absl::Duration at_most);  // until Take has something to say

  // The engine thread's reports. `remaining` is the share of the request's estimated prefill that is still to do.
  void NoteStarted(RequestId id, int64_t remaining_tokens, double remaining);
  void NotePrefill(RequestId id, int64_t remaining_tokens, double remaining);
  // Around the terminal event: the request leaves the ledger at Begin; Drain waits for the End.
  void BeginTerminal(RequestId id);
  void EndTerminal();

  // The cost model: fed by the engine thread, read by Submit.
  void ObserveChunk(const engine::PrefillWork& work, double seconds);
  struct CostPrediction {
    std::optional<double> seconds;
    std::optional<double> error;
    bool trusted = false;
  };
  CostPrediction Predict(const engine::PrefillWork& work) const;

 private:
  struct Entry {
    int priority = 0;
    bool queued = true;
    int64_t prompt_tokens = 0;
    int64_t remaining_tokens = 0;  // of prefill; 0 in decode
    double remaining = 1;
    engine::PrefillWork work;  // estimated, of the whole prefill
  };
  struct Ahead {
    int64_t queued = 0;
    engine::PrefillWork work;
  };
  // What a request could cost, in the mode asked for and dense; found without the lock.
  struct Estimate {
    engine::PrefillWork work, dense_work;
    int64_t pages = 0, dense_pages = 0;
    bool eligible = false;  // for the randomized arms, as far as the engine says
  };

  Estimate EstimateFor(engine::SequenceRequest& sequence) const;
  AdmissionInput InputFor(const Request& request, const engine::PrefillWork& work, int64_t pages) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Draws an arm for an eligible request, and makes it run dense when that is the draw.
  Arm DrawArm(Request& request, Estimate& estimate) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Ahead AheadOf(int priority, int64_t prompt_tokens) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PublishCounts() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const SchedulerOptions options_;
  engine::Engine& engine_;  // its thread-safe part
  Clock& clock_;
  Metrics& metrics_;

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;  // something to take, or a request ended
  RequestId next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  Batch inbox_ ABSL_GUARDED_BY(mutex_);
  std::map<RequestId, Entry> ledger_ ABSL_GUARDED_BY(mutex_);  // every request without a terminal event, by arrival
  CostModel cost_model_ ABSL_GUARDED_BY(mutex_);
  Snapshot counts_ ABSL_GUARDED_BY(mutex_);
  int delivering_ ABSL_GUARDED_BY(mutex_) = 0;  // terminal events under way
};

}  // namespace slimfill::scheduler
