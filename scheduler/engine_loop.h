// What the engine thread does: takes what the intake has, ends what was cancelled or is late, asks the planner for one
// work unit and runs it. Owns all live requests. Sinks are called here, without any lock held.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "engine/engine.h"
#include "scheduler/intake.h"
#include "scheduler/planner.h"
#include "scheduler/request_state.h"
#include "scheduler/scheduler.h"
#include "scheduler/speedup.h"

namespace slimfill::scheduler {

// All calls from one thread.
class EngineLoop {
 public:
  // Borrows all; they must outlive it.
  EngineLoop(const SchedulerOptions& options, engine::Engine& engine, Clock& clock, Metrics& metrics, Intake& intake);

  enum class Outcome {
    kWorked,   // there may be more to do
    kIdle,     // no request is live: wait for the intake, at most IdleTime()
    kStopped,  // the intake was stopped; every request has had its terminal event
  };
  // Runs at most one work unit. Between units nothing waits for time to pass: while a request is live there is always
  // work (its own, or that of the sequences it waits for), so deadlines are met by looking before each unit.
  Outcome RunOnce();
  // After kIdle: how long there is nothing to do unless a request comes.
  absl::Duration IdleTime() const { return idle_work_at_ - clock_.Now(); }

 private:
  void TakeIn(Intake::Batch& batch);
  void EndAllIfEngineFailed();
  void EndCancelledAndLate();
  PlannerState StateForPlanner() const;
  RequestState& Find(RequestId id);
  bool AnyRunning() const;

  // Work units.
  void Start(RequestState& state);
  void RunChunk(RequestState& state);
  void RunDecodeStep();
  Outcome RunIdle();

  void AfterChunk(RequestState& state, const engine::PrefillStep& step);
  void ReportProgress(RequestState& state, const engine::PrefillStep& step);
  void FirstToken(RequestState& state, const engine::TokenEvent& token);
  void NextToken(RequestState& state, const engine::TokenEvent& token, absl::Time now);

  void Finish(RequestState& state, engine::FinishReason reason);
  void Fail(RequestState& state, const absl::Status& status);
  // Releases the sequence and closes the books; the terminal event is `deliver`'s to send.
  template <typename Deliver>
  void End(RequestState& state, const absl::Status& outcome, Deliver deliver);
  // What the prompt would have taken without pruning; absent while the model is not trusted.
  void AddDenseEquivalent(const RequestState& state, Finished& finished);

  const SchedulerOptions options_;
  engine::Engine& engine_;
  Clock& clock_;
  Metrics& metrics_;
  Intake& intake_;
  SpeedupTracker speedup_;
  std::vector<std::unique_ptr<RequestState>> live_;  // in order of arrival; ended ones until the end of RunOnce
  bool engine_failed_ = false;
  bool decode_due_ = false;                           // see PlannerState
  absl::Time idle_work_at_ = absl::InfiniteFuture();  // if no request comes before
};

}  // namespace slimfill::scheduler
