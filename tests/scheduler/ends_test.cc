// How requests end: cancelled, late, failed, drained, stopped.
#include <vector>

#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_scene.h"

namespace slimfill::scheduler {
namespace {

using ::testing::HasSubstr;

// --- Cancellation and deadlines ---

TEST(SchedulerEndsTest, CancelInTheQueueEndsWithoutTouchingTheEngine) {
  SteppedScheduler scene;
  const auto request = scene.Submit(1, 100);
  scene.intake.Cancel(request.id());
  scene.RunUntilIdle();
  EXPECT_EQ(request.sink->failed().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(scene.engine.calls().empty());
  EXPECT_EQ(scene.metrics.Value(metric::kCancellations, {"queue"}), 1);
}

TEST(SchedulerEndsTest, CancelInPrefillEndsAtTheNextChunk) {
  SteppedScheduler scene({}, DenseEngine());
  const auto request = scene.Submit(1, 4096);
  scene.engine.OnCall([&] { scene.intake.Cancel(request.id()); });
  scene.RunUntilIdle();
  EXPECT_EQ(scene.Order(), "");  // cancelled during Start
  EXPECT_EQ(request.sink->failed().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(scene.metrics.Value(metric::kCancellations, {"prefill"}), 1);
  EXPECT_EQ(scene.engine.pages_used(), 0);
}

TEST(SchedulerEndsTest, CancelInDecodeEndsAtTheNextStepWithCancelled) {
  SteppedScheduler scene({}, DenseEngine());
  const auto request = scene.Submit(1, 100, /*max_tokens=*/50);
  const auto other = scene.Submit(2, 100, /*max_tokens=*/6);
  scene.engine.OnCall([&] {
    if (request.sink->token_times().size() == 3) scene.intake.Cancel(request.id());
  });
  scene.RunUntilIdle();
  EXPECT_EQ(request.sink->failed().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(request.sink->token_times().size(), 4u);  // the step under way still counted
  EXPECT_TRUE(other.sink->finished().has_value());
  EXPECT_EQ(scene.metrics.Value(metric::kCancellations, {"decode"}), 1);
}

// --- A device that breaks ---

TEST(SchedulerEndsTest, ABrokenDeviceEndsEveryRequestWithItsErrorAndIsReportedOnce) {
  std::vector<absl::Status> reported;
  SchedulerOptions options;
  options.on_engine_failure = [&](const absl::Status& status) { reported.push_back(status); };
  SteppedScheduler scene(options, DenseEngine());
  const auto decoding = scene.Submit(1, 100, /*max_tokens=*/50);
  const auto waiting = scene.Submit(2, 4096);
  scene.engine.OnCall([&] {
    if (decoding.sink->token_times().size() == 3) scene.engine.Break(absl::InternalError("the GPU failed"));
  });
  scene.RunUntilIdle();
  for (const auto* request : {&decoding, &waiting}) {
    EXPECT_EQ(request->sink->failed(), absl::InternalError("the GPU failed"));
    EXPECT_TRUE(request->sink->legal());
  }
  const auto later = scene.Submit(3, 100);
  scene.RunUntilIdle();
  EXPECT_EQ(later.sink->failed(), absl::InternalError("the GPU failed"));
  EXPECT_EQ(reported.size(), 1u);
  EXPECT_EQ(scene.engine.pages_used(), 0);
}

TEST(SchedulerEndsTest, CancelOfUnknownOrFinishedIdsIsIgnored) {
  SteppedScheduler scene;
  scene.intake.Cancel(99);
  const auto request = scene.Submit(1, 100);
  scene.RunUntilIdle();
  scene.intake.Cancel(request.id());
  scene.intake.Cancel(request.id());
  scene.RunUntilIdle();
  EXPECT_TRUE(request.sink->legal());
  EXPECT_TRUE(request.sink->finished().has_value());
}

TEST(SchedulerEndsTest, CancelDuringTheLastStepFinishes) {
  SteppedScheduler scene;
  const auto request = scene.Submit(1, 100, /*max_tokens=*/2);
  scene.engine.OnCall([&] {
    if (scene.engine.calls().back().kind == test::FakeCall::Kind::kStep) scene.intake.Cancel(request.id());
  });
  scene.RunUntilIdle();
  EXPECT_TRUE(request.sink->finished().has_value());
}

TEST(SchedulerEndsTest, DeadlineEndsAQueuedRequestWhileOthersRun) {
  SteppedScheduler scene({.max_running = 1}, DenseEngine());
  const auto busy = scene.Submit(1, 100, /*max_tokens=*/100);
  scene.loop.RunOnce();  // it has the only slot
  Request request = MakeRequest(scene.clock, 2, 100);
  request.deadline = scene.clock.Now() + absl::Milliseconds(205);
  const auto late = scene.Submit(std::move(request));
  scene.RunUntilIdle();
  EXPECT_EQ(late.sink->failed().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(late.sink->failed().message()), HasSubstr("in phase queue"));
  EXPECT_THAT(std::string(late.sink->failed().message()), HasSubstr("it allowed 205ms"));
  EXPECT_LT(late.sink->end_time(), absl::UnixEpoch() + absl::Milliseconds(215));
  EXPECT_TRUE(busy.sink->finished().has_value());
}

TEST(SchedulerEndsTest, DeadlineEndsPrefillAtTheNextChunkAndDecodeAtTheNextStep) {
  SteppedScheduler scene({}, DenseEngine());
  Request request = MakeRequest(scene.clock, 1, 8192);
  request.deadline = scene.clock.Now() + absl::Milliseconds(200);
  const auto prefilling = scene.Submit(std::move(request));
  scene.RunUntilIdle();
  EXPECT_EQ(prefilling.sink->failed().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(scene.Order(), "1 1 1");  // 85, 172, 261 ms

  request = MakeRequest(scene.clock, 2, 10, /*max_tokens=*/100);
  request.deadline = scene.clock.Now() + absl::Milliseconds(100);
  const auto decoding = scene.Submit(std::move(request));
  scene.RunUntilIdle();
  EXPECT_EQ(decoding.sink->failed().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LE(decoding.sink->token_times().size(), 12u);
  EXPECT_GE(decoding.sink->token_times().size(), 9u);
  EXPECT_EQ(scene.metrics.Value(metric::kCancellations, {"decode"}), 1);
}

// --- Failures ---

TEST(SchedulerEndsTest, FailingSequenceFailsAlone) {
  SteppedScheduler scene({}, DenseEngine());
  scene.engine.Script(1, {.fail_at_chunk = 1});
  scene.engine.Script(2, {.fail_at_token = 2});
  scene.engine.Script(3, {.start = absl::InvalidArgumentError("not this one")});
  std::vector<SteppedScheduler::Submitted> requests;
  for (int key = 1; key <= 4; ++key) requests.push_back(scene.Submit(key, 900, 5));
  scene.RunUntilIdle();
  EXPECT_EQ(requests[0].sink->failed().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(requests[1].sink->failed().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(requests[1].sink->token_times().size(), 2u);
  EXPECT_EQ(requests[2].sink->failed().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(requests[3].sink->finished().has_value());
  EXPECT_EQ(scene.engine.pages_used(), 0);
}

TEST(SchedulerEndsTest, EngineErrorsCannotPassForTheCallersOwn) {
  SteppedScheduler scene;
  scene.engine.Script(1, {.fail_at_chunk = 0, .failure = absl::CancelledError("by whom?")});
  scene.engine.Script(2, {.fail_at_token = 1, .failure = absl::ResourceExhaustedError("no pages")});
  const auto first = scene.Submit(1, 100), second = scene.Submit(2, 100);
  scene.RunUntilIdle();
  EXPECT_EQ(first.sink->failed().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(second.sink->failed().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(scene.metrics.Value(metric::kCancellations, {"prefill"}), 0);
}

TEST(SchedulerEndsTest, PrefillWithoutAFirstTokenIsAnInternalError) {
  SteppedScheduler scene;
  scene.engine.Script(1, {.no_first_token = true});
  const auto request = scene.Submit(1, 100);
  scene.RunUntilIdle();
  EXPECT_EQ(request.sink->failed().code(), absl::StatusCode::kInternal);
}

TEST(SchedulerEndsTest, InvalidRequestsAreRefusedWithTheEnginesWords) {
  SteppedScheduler scene;
  const auto request = scene.Submit(1, 0);
  EXPECT_EQ(request.admission.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(request.admission.status().message()), HasSubstr("prompt is empty"));
  EXPECT_EQ(scene.metrics.Value(metric::kAdmissionRejections, {"invalid"}), 1);
}

// --- Drain and stop ---

TEST(SchedulerEndsTest, DrainRefusesNewRequestsAndEndsWhenTheOthersHave) {
  SteppedScheduler scene;
  const auto request = scene.Submit(1, 100);
  EXPECT_FALSE(scene.intake.Drain(scene.clock.Now()));
  EXPECT_TRUE(scene.intake.snapshot().draining);
  EXPECT_EQ(scene.Submit(2, 100).admission.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(scene.metrics.Value(metric::kAdmissionRejections, {"draining"}), 1);
  scene.RunUntilIdle();
  EXPECT_TRUE(scene.intake.Drain(scene.clock.Now()));
  EXPECT_TRUE(request.sink->finished().has_value());
}

TEST(SchedulerEndsTest, StopFailsWhatIsLeftInEveryPhase) {
  SteppedScheduler scene({}, DenseEngine());
  const auto decoding = scene.Submit(1, 100, 100);
  while (decoding.sink->token_times().empty()) scene.loop.RunOnce();
  const auto prefilling = scene.Submit(2, 10000);
  while (!prefilling.sink->started()) scene.loop.RunOnce();
  const auto queued = scene.Submit(3, 100000);
  const auto just_arrived = scene.Submit(4, 100);
  scene.intake.Stop();
  EXPECT_EQ(scene.loop.RunOnce(), EngineLoop::Outcome::kStopped);
  for (const auto& request : {decoding, prefilling, queued, just_arrived}) {
    EXPECT_EQ(request.sink->failed().code(), absl::StatusCode::kUnavailable);
    EXPECT_TRUE(request.sink->legal());
  }
  EXPECT_EQ(scene.Submit(5, 100).admission.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(scene.loop.RunOnce(), EngineLoop::Outcome::kStopped);
  EXPECT_EQ(scene.engine.live_sequences(), 0);
}

// The end of a request must be the end of what it holds.
TEST(SchedulerEndsTest, PagesAreFreeAndCountsRightWhenTheTerminalEventComes) {
  class CheckingSink final : public EventSink {
   public:
    explicit CheckingSink(SteppedScheduler& scene) : scene_(scene) {}
    void OnStarted(int64_t) override { EXPECT_EQ(scene_.intake.snapshot().running, 1); }
    void OnProgress(const Progress&) override {}
    void OnToken(const engine::TokenEvent&) override { EXPECT_GT(scene_.engine.pages_used(), 0); }
    void OnFinished(const Finished&) override {
      ended = true;
      EXPECT_EQ(scene_.engine.pages_used(), 0);
      EXPECT_EQ(scene_.intake.snapshot().running, 0);
      EXPECT_EQ(scene_.intake.snapshot().finished, 1);
    }
    void OnFailed(const absl::Status&) override {}
    bool ended = false;

   private:
    SteppedScheduler& scene_;
  };
  SteppedScheduler scene;
  auto sink = std::make_shared<CheckingSink>(scene);
  ASSERT_TRUE(scene.intake.Submit(MakeRequest(scene.clock, 1, 100), sink).ok());
  scene.RunUntilIdle();
  EXPECT_TRUE(sink->ended);
  EXPECT_EQ(sink.use_count(), 1);  // dropped
}

}  // namespace
}  // namespace slimfill::scheduler
