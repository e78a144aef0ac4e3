// Scenes for the scheduler's tests: requests, a sink that records and checks the order of events, and a scheduler that
// is stepped by hand on one thread, so that what happens when is exact.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "scheduler/engine_loop.h"
#include "scheduler/intake.h"
#include "tests/support/fake_engine.h"

namespace slimfill::scheduler {

// Thread safe. `legal` turns false at the first event out of order.
class RecordingSink final : public EventSink {
 public:
  explicit RecordingSink(Clock& clock) : clock_(clock) {}

  void OnStarted(int64_t cached_tokens) override {
    absl::MutexLock lock(&mutex_);
    legal_ &= !started_ && !ended();
    started_ = true;
    cached_tokens_ = cached_tokens;
  }
  void OnProgress(const Progress& progress) override {
    absl::MutexLock lock(&mutex_);
    legal_ &= started_ && token_times_.empty() && !ended();
    if (!progress_.empty()) legal_ &= progress.fraction_done >= progress_.back().fraction_done;
    progress_.push_back(progress);
  }
  void OnToken(const engine::TokenEvent& token) override {
    absl::MutexLock lock(&mutex_);
    // FakeEngine numbers its tokens.
    legal_ &= started_ && !ended() && token.token == static_cast<int>(token_times_.size());
    token_times_.push_back(clock_.Now());
  }
  void OnFinished(const Finished& finished) override {
    absl::MutexLock lock(&mutex_);
    legal_ &= started_ && !ended() && finished.output_tokens == static_cast<int64_t>(token_times_.size());
    finished_ = finished;
    end_time_ = clock_.Now();
  }
  void OnFailed(const absl::Status& status) override {
    absl::MutexLock lock(&mutex_);
    legal_ &= !ended() && !status.ok();
    failed_ = status;
    end_time_ = clock_.Now();
  }

  bool has_ended() const {
    absl::MutexLock lock(&mutex_);
    return ended();
  }
  void WaitUntilEnded() const {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &RecordingSink::ended));
  }
  // Below: for use when nothing runs any more, or on the engine's thread.
  bool legal() const { return Locked(legal_); }
  bool started() const { return Locked(started_); }
  int64_t cached_tokens() const { return Locked(cached_tokens_); }
  std::vector<Progress> progress() const { return Locked(progress_); }
  std::vector<absl::Time> token_times() const { return Locked(token_times_); }
  std::optional<Finished> finished() const { return Locked(finished_); }
  absl::Status failed() const { return Locked(failed_); }  // OK when it did not fail
  absl::Time end_time() const { return Locked(end_time_); }

 private:
  bool ended() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return finished_.has_value() || !failed_.ok(); }
  template <typename T>
  T Locked(const T& value) const {
    absl::MutexLock lock(&mutex_);
    return value;
  }

  Clock& clock_;
  mutable absl::Mutex mutex_;
  bool legal_ = true;
  bool started_ = false;
  int64_t cached_tokens_ = 0;
  std::vector<Progress> progress_;
  std::vector<absl::Time> token_times_;
  std::optional<Finished> finished_;
  absl::Status failed_;
  absl::Time end_time_ = absl::InfiniteFuture();
};

// A request of `tokens` prompt tokens; `key` is its script's, see FakeEngine.
inline Request MakeRequest(const Clock& clock, engine::TokenId key, int64_t tokens, int max_tokens = 4) {
  Request request;
  request.sequence.prompt.assign(tokens, 1);
  if (tokens > 0) request.sequence.prompt.front() = key;
  request.sequence.sampling.max_tokens = max_tokens;
  request.arrival = clock.Now();
  request.method = "Generate";
  return request;
}

// A dense 512-token chunk takes 0.085 s and a prompt needs one chunk per 512 tokens.
inline test::FakeEngineOptions DenseEngine() { return {.keep = 1}; }

// A scheduler without a thread.
struct SteppedScheduler {
  explicit SteppedScheduler(SchedulerOptions scheduler_options = {}, test::FakeEngineOptions engine_options = {})
      : options(scheduler_options),
        engine(clock, engine_options),
        intake(options, engine, clock, metrics),
        loop(options, engine, clock, metrics, intake) {}
  ~SteppedScheduler() {
    intake.Stop();
    loop.RunOnce();
  }

  struct Submitted {
    absl::StatusOr<Admission> admission;
    std::shared_ptr<RecordingSink> sink;
    RequestId id() const { return admission->id; }
  };
  Submitted Submit(Request request) {
    auto sink = std::make_shared<RecordingSink>(clock);
    absl::StatusOr<Admission> admission = intake.Submit(std::move(request), sink);
    return {std::move(admission), std::move(sink)};
  }
  Submitted Submit(engine::TokenId key, int64_t tokens, int max_tokens = 4) {
    return Submit(MakeRequest(clock, key, tokens, max_tokens));
  }
  void RunUntilIdle() {
    while (loop.RunOnce() == EngineLoop::Outcome::kWorked) {
    }
  }
  // The chunks and steps so far, in order: "3" a chunk of request 3, "[3 4]" a step of both, "~" an idle chunk.
  std::string Order() const {
    std::string order;
    for (const test::FakeCall& call : engine.calls()) {
      if (call.kind == test::FakeCall::Kind::kStart) continue;
      std::string keys = call.kind == test::FakeCall::Kind::kIdleChunk ? "~" : "";
      for (engine::TokenId key : call.keys) absl::StrAppend(&keys, keys.empty() ? "" : " ", key);
      const bool step = call.kind == test::FakeCall::Kind::kStep;
      absl::StrAppend(&order, order.empty() ? "" : " ", step ? absl::StrCat("[", keys, "]") : keys);
    }
    return order;
  }

  SchedulerOptions options;
  FakeClock clock;
  Metrics metrics;
  test::FakeEngine engine;
  Intake intake;
  EngineLoop loop;
};

}  // namespace slimfill::scheduler
