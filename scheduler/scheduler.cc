#include "scheduler/scheduler.h"

#include <thread>
#include <utility>

#include "scheduler/engine_loop.h"
#include "scheduler/intake.h"

namespace slimfill::scheduler {
namespace {

class SchedulerImpl final : public Scheduler {
 public:
  SchedulerImpl(const SchedulerOptions& options, engine::Engine& engine, Clock& clock, Metrics& metrics)
      : intake_(options, engine, clock, metrics),
        loop_(options, engine, clock, metrics, intake_),
        engine_thread_([this] { RunEngineThread(); }) {}

  ~SchedulerImpl() override {
    intake_.Stop();
    engine_thread_.join();
  }

  absl::StatusOr<Admission> Submit(Request request, std::shared_ptr<EventSink> sink) override {
    return intake_.Submit(std::move(request), std::move(sink));
  }
  void Cancel(RequestId id) override { intake_.Cancel(id); }
  bool Drain(absl::Time deadline) override { return intake_.Drain(deadline); }
  Snapshot snapshot() const override { return intake_.snapshot(); }

 private:
  void RunEngineThread() {
    for (;;) {
      switch (loop_.RunOnce()) {
        case EngineLoop::Outcome::kWorked:
          break;
        case EngineLoop::Outcome::kIdle:
          intake_.WaitForWork(loop_.IdleTime());
          break;
        case EngineLoop::Outcome::kStopped:
          return;
      }
    }
  }

  Intake intake_;
  EngineLoop loop_;  // the engine thread's
  std::thread engine_thread_;
};

}  // namespace

std::unique_ptr<Scheduler> Scheduler::Create(const SchedulerOptions& options, engine::Engine& engine, Clock& clock,
                                             Metrics& metrics) {
  return std::make_unique<SchedulerImpl>(options, engine, clock, metrics);
}

}  // namespace slimfill::scheduler
