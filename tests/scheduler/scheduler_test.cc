// What requests see of the scheduler, stepped by hand so that times are exact.
#include "scheduler/scheduler.h"

#include <sstream>

#include "base/logging.h"
#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/sinks/ostream_sink.h"
#include "tests/scheduler/scheduler_scene.h"

namespace slimfill::scheduler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A dense 512-token chunk takes 0.085 s and the prompts below need one chunk per 512 tokens.
test::FakeEngineOptions DenseEngine() { return {.keep = 1}; }

absl::Duration LongestChunk(const test::FakeEngine& engine) {
  absl::Duration longest;
  for (const test::FakeCall& call : engine.calls()) {
    if (call.kind == test::FakeCall::Kind::kChunk) longest = std::max(longest, call.end - call.begin);
  }
  return longest;
}

// --- The life of one request ---

TEST(SchedulerTest, RequestRunsToItsEndWithExactTimes) {
  SteppedScheduler scene({}, DenseEngine());
  Request request = MakeRequest(scene.clock, 1, 1000, 3);
  scene.clock.Advance(absl::Milliseconds(40));  // on its way from the RPC to the scheduler
  const auto submitted = scene.Submit(std::move(request));
  ASSERT_TRUE(submitted.admission.ok());
  EXPECT_EQ(submitted.admission->queue_position, 0);
  EXPECT_EQ(submitted.admission->predicted_ttft, absl::InfiniteDuration());
  scene.RunUntilIdle();

  EXPECT_EQ(scene.Order(), "1 1 [1] [1]");
  EXPECT_TRUE(submitted.sink->legal());
  ASSERT_TRUE(submitted.sink->finished().has_value());
  const Finished finished = *submitted.sink->finished();
  const double prefill = scene.engine.Seconds(scene.engine.EstimateWork(1000, engine::PruningMode::kOff));
  EXPECT_EQ(finished.reason, engine::FinishReason::kLength);
  EXPECT_EQ(finished.prompt_tokens, 1000);
  EXPECT_EQ(finished.output_tokens, 3);
  EXPECT_EQ(finished.timings.queue, absl::Milliseconds(40));
  EXPECT_NEAR(absl::ToDoubleSeconds(finished.timings.prefill), prefill, 1e-6);
  EXPECT_EQ(finished.timings.ttft, finished.timings.queue + finished.timings.prefill);
  EXPECT_EQ(finished.timings.mean_inter_token, absl::Milliseconds(10));
  EXPECT_EQ(finished.timings.total, finished.timings.ttft + absl::Milliseconds(20));
  EXPECT_EQ(finished.decode.steps, 2);
  EXPECT_EQ(finished.dense_equivalent_ttft, finished.timings.ttft);  // it was not pruned
}

TEST(SchedulerTest, RequestOfOneTokenEndsWithPrefill) {
  SteppedScheduler scene({}, DenseEngine());
  const auto request = scene.Submit(1, 100, /*max_tokens=*/1);
  scene.RunUntilIdle();
  EXPECT_EQ(scene.Order(), "1");
  EXPECT_EQ(request.sink->finished()->output_tokens, 1);
  EXPECT_EQ(request.sink->finished()->timings.mean_inter_token, absl::ZeroDuration());
}

TEST(SchedulerTest, EngineDecidesWhenARequestStops) {
  SteppedScheduler scene;
  scene.engine.Script(1, {.stop_after = 2});
  const auto request = scene.Submit(1, 100, /*max_tokens=*/50);
  scene.RunUntilIdle();
  EXPECT_EQ(request.sink->finished()->reason, engine::FinishReason::kStop);
  EXPECT_EQ(request.sink->finished()->output_tokens, 2);
}

TEST(SchedulerTest, StoredPrefixIsReportedAtTheStart) {
  SteppedScheduler scene({}, DenseEngine());
  scene.engine.Script(1, {.cached_tokens = 768});
  const auto request = scene.Submit(1, 1000);
  scene.RunUntilIdle();
  EXPECT_EQ(request.sink->cached_tokens(), 768);
  EXPECT_EQ(request.sink->finished()->cached_tokens, 768);
  EXPECT_EQ(scene.metrics.Value(metric::kPromptTokens, {"cached"}), 768);
  EXPECT_EQ(scene.metrics.Value(metric::kPromptTokens, {"computed"}), 232);
}

TEST(SchedulerTest, ProgressComesAtItsIntervalAndWhenAStageBegins) {
  SchedulerOptions options;
  options.progress_interval = absl::Milliseconds(60);
  options.randomized_dense_share = 0;
  SteppedScheduler scene(options);  // two stages
  const auto request = scene.Submit(1, 8192);
  scene.RunUntilIdle();
  // Stage 1: 16 chunks of 2 layers, 21.7 ms for the first, 29.5 ms for the eighth, 37.9 ms for the last: one report
  // about every second chunk. Stage 2: 4 chunks of 6 layers, each over the interval; the last brings the first token.
  const std::vector<Progress> progress = request.sink->progress();
  ASSERT_GE(progress.size(), 6u);
  int of_second_stage = 0;
  for (const Progress& report : progress) {
    EXPECT_EQ(report.stages, 2);
    EXPECT_EQ(report.tokens_total, 8192);
    EXPECT_NEAR(static_cast<double>(report.tokens_done), report.fraction_done * 8192, 0.5);
    of_second_stage += report.stage == 1;
  }
  EXPECT_EQ(of_second_stage, 3);
  EXPECT_LT(progress.size(), 12u);
}

// --- Order of work ---

TEST(SchedulerTest, EqualPromptsRunInOrderOfArrivalOneAfterTheOther) {
  SteppedScheduler scene({}, DenseEngine());
  for (int key = 1; key <= 3; ++key) ASSERT_TRUE(scene.Submit(key, 1024, /*max_tokens=*/1).admission.ok());
  scene.RunUntilIdle();
  EXPECT_EQ(scene.Order(), "1 1 2 2 3 3");
}

TEST(SchedulerTest, DecodingSequencesGetOneStepTogetherAfterEveryChunk) {
  SteppedScheduler scene({}, DenseEngine());
  ASSERT_TRUE(scene.Submit(1, 100, /*max_tokens=*/5).admission.ok());
  ASSERT_TRUE(scene.Submit(2, 100, /*max_tokens=*/5).admission.ok());
  ASSERT_TRUE(scene.Submit(3, 1500, /*max_tokens=*/1).admission.ok());
  scene.RunUntilIdle();
  EXPECT_EQ(scene.Order(), "1 [1] 2 [1 2] 3 [1 2] 3 [1 2] 3 [2]");
}

TEST(SchedulerTest, HigherPriorityRunsFirst) {
  SteppedScheduler scene({}, DenseEngine());
  ASSERT_TRUE(scene.Submit(1, 1024, 1).admission.ok());
  Request urgent = MakeRequest(scene.clock, 2, 2048, 1);
  urgent.priority = 1;
  const auto second = scene.Submit(std::move(urgent));
  ASSERT_TRUE(second.admission.ok());
  EXPECT_EQ(second.admission->queue_position, 0);
  scene.RunUntilIdle();
  EXPECT_EQ(scene.Order(), "2 2 2 2 1 1");
}

TEST(SchedulerTest, QueuePositionCountsWhatWillRunAhead) {
  SteppedScheduler scene({}, DenseEngine());
  ASSERT_TRUE(scene.Submit(1, 32000).admission.ok());
  ASSERT_TRUE(scene.Submit(2, 100).admission.ok());
  EXPECT_EQ(scene.Submit(3, 100).admission->queue_position, 1);    // behind 2, before 1
  EXPECT_EQ(scene.Submit(4, 32000).admission->queue_position, 3);  // behind all
}

// Wherever in a long prefill a short request arrives, and with streams running.
TEST(SchedulerTest, ShortRequestBehindALongPrefillGetsItsFirstTokenWithinTwoChunkTimes) {
  for (const double keep : {0.25, 1.0}) {
    for (int arrival = 1; arrival < 88; ++arrival) {
      SteppedScheduler scene({.randomized_dense_share = 0}, {.keep = keep, .step_time = absl::Milliseconds(1)});
      ASSERT_TRUE(scene.Submit(2, 64, /*max_tokens=*/1000).admission.ok());
      ASSERT_TRUE(scene.Submit(1, 32768, 1).admission.ok());
      std::shared_ptr<RecordingSink> sink;
      absl::Time arrived;
      int chunks = 0;
      scene.engine.OnCall([&] {
        const test::FakeCall call = scene.engine.calls().back();
        if (call.kind != test::FakeCall::Kind::kChunk || ++chunks != arrival) return;
        // The worst moment: just as the chunk began.
        Request request = MakeRequest(scene.clock, 3, 100);
        request.arrival = arrived = call.begin;
        sink = scene.Submit(std::move(request)).sink;
      });
      scene.RunUntilIdle();
      if (sink == nullptr) break;  // the prefill was over
      ASSERT_FALSE(sink->token_times().empty());
      EXPECT_LE(sink->token_times().front() - arrived, 2 * LongestChunk(scene.engine)) << keep << " " << arrival;
    }
  }
}

TEST(SchedulerTest, GapBetweenTokensIsAtMostAChunkAndAStep) {
  SteppedScheduler scene;
  const auto stream = scene.Submit(1, 64, /*max_tokens=*/120);
  for (int key = 2; key < 12; ++key) ASSERT_TRUE(scene.Submit(key, 700 * key, 3).admission.ok());
  scene.RunUntilIdle();
  const std::vector<absl::Time> times = stream.sink->token_times();
  ASSERT_EQ(times.size(), 120u);
  for (size_t i = 1; i < times.size(); ++i) {
    EXPECT_LE(times[i] - times[i - 1], LongestChunk(scene.engine) + absl::Milliseconds(10));
  }
}

TEST(SchedulerTest, EndlessShortPromptsDoNotStarveALongOne) {
  SteppedScheduler scene({}, DenseEngine());
  const auto long_one = scene.Submit(1, 8192, 1);  // 16 chunks
  int submitted = 0;
  scene.engine.OnCall([&] {
    const test::FakeCall call = scene.engine.calls().back();
    if (call.kind != test::FakeCall::Kind::kChunk || long_one.sink->has_ended() || submitted == 200) return;
    ++submitted;
    ASSERT_TRUE(scene.Submit(2, 100, 1).admission.ok());
  });
  scene.RunUntilIdle();
  ASSERT_TRUE(long_one.sink->finished().has_value());
  EXPECT_THAT(scene.Order(), StartsWith("1 2 2 2 2 1 2 2 2 2 1 2 2 2 2 1 "));
  // 15 turns after the first chunk, four short ones before each, and one submitted by each of those chunks.
  EXPECT_LE(submitted, 16 + 15 * 4);
}

TEST(SchedulerTest, NoMoreThanMaxRunningSequencesLive) {
  SteppedScheduler scene({.max_running = 2}, DenseEngine());
  for (int key = 1; key <= 6; ++key) ASSERT_TRUE(scene.Submit(key, 200 * key, 5).admission.ok());
  scene.RunUntilIdle();
  EXPECT_EQ(scene.engine.max_live_sequences(), 2);
  EXPECT_EQ(scene.intake.snapshot().finished, 6);
}

// --- Pages ---

TEST(SchedulerTest, RequestWaitsForPagesOfOthers) {
  SteppedScheduler scene({}, {.keep = 1, .pages_total = 20});
  const auto first = scene.Submit(1, 1000);   // 16 pages
  const auto second = scene.Submit(2, 1000);  // has to wait for the first's
  scene.RunUntilIdle();
  int starts = 0;
  for (const test::FakeCall& call : scene.engine.calls()) starts += call.kind == test::FakeCall::Kind::kStart;
  EXPECT_EQ(starts, 2);  // the engine was not even asked before
  EXPECT_EQ(scene.engine.max_live_sequences(), 1);
  EXPECT_TRUE(first.sink->finished().has_value());
  EXPECT_TRUE(second.sink->finished().has_value());
}

TEST(SchedulerTest, RequestThatCanNeverFitIsRefused) {
  SteppedScheduler scene({}, {.pages_total = 20});
  const auto request = scene.Submit(1, 2000);
  EXPECT_EQ(request.admission.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(scene.metrics.Value(metric::kAdmissionRejections, {"pages"}), 1);
  scene.RunUntilIdle();
  EXPECT_FALSE(request.sink->has_ended());
}

TEST(SchedulerTest, StartWithoutPagesIsTriedAgainWhenAnotherEnds) {
  SteppedScheduler scene({}, DenseEngine());
  scene.engine.Script(2, {.short_starts = 1});
  const auto first = scene.Submit(1, 64, /*max_tokens=*/5);
  const auto second = scene.Submit(2, 100);
  scene.RunUntilIdle();
  ASSERT_TRUE(first.sink->finished().has_value());
  ASSERT_TRUE(second.sink->finished().has_value());
  EXPECT_EQ(second.sink->finished()->timings.queue, first.sink->finished()->timings.total);
}

TEST(SchedulerTest, StartWithoutPagesFailsWhenNothingElseRuns) {
  SteppedScheduler scene;
  scene.engine.Script(1, {.short_starts = 1});
  const auto request = scene.Submit(1, 100);
  scene.RunUntilIdle();
  EXPECT_EQ(request.sink->failed().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(request.sink->started());
}

TEST(SchedulerTest, LargeRequestIsNotStarvedOfPagesBySmallOnes) {
  SteppedScheduler scene({}, {.keep = 1, .pages_total = 40});
  // Small ones of 3 pages each keep coming, so that the large one's 33 pages are never free by chance.
  int key = 100;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(scene.Submit(key++, 100, 40).admission.ok());
  while (scene.Order().find("103") == std::string::npos) scene.loop.RunOnce();
  const auto large = scene.Submit(1, 2048, 1);
  ASSERT_TRUE(large.admission.ok());
  int chunks = 0;
  scene.engine.OnCall([&] {
    if (scene.engine.calls().back().kind != test::FakeCall::Kind::kChunk || large.sink->started()) return;
    if (++chunks > 2 * kChunksBeforeReservation) return;  // so that a failure ends
    ASSERT_TRUE(scene.Submit(key++, 100, 40).admission.ok());
  });
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(scene.Submit(key++, 100, 40).admission.ok());
  scene.RunUntilIdle();
  ASSERT_TRUE(large.sink->finished().has_value());
  EXPECT_EQ(chunks, kChunksBeforeReservation);
}

// --- Cancellation and deadlines ---

TEST(SchedulerTest, CancelInTheQueueEndsWithoutTouchingTheEngine) {
  SteppedScheduler scene;
  const auto request = scene.Submit(1, 100);
  scene.intake.Cancel(request.id());
  scene.RunUntilIdle();
  EXPECT_EQ(request.sink->failed().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(scene.engine.calls().empty());
  EXPECT_EQ(scene.metrics.Value(metric::kCancellations, {"queue"}), 1);
}

TEST(SchedulerTest, CancelInPrefillEndsAtTheNextChunk) {
  SteppedScheduler scene({}, DenseEngine());
  const auto request = scene.Submit(1, 4096);
  scene.engine.OnCall([&] { scene.intake.Cancel(request.id()); });
  scene.RunUntilIdle();
  EXPECT_EQ(scene.Order(), "");  // cancelled during Start
  EXPECT_EQ(request.sink->failed().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(scene.metrics.Value(metric::kCancellations, {"prefill"}), 1);
  EXPECT_EQ(scene.engine.pages_used(), 0);
}

TEST(SchedulerTest, CancelInDecodeEndsAtTheNextStepWithCancelled) {
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

TEST(SchedulerTest, CancelOfUnknownOrFinishedIdsIsIgnored) {
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

TEST(SchedulerTest, CancelDuringTheLastStepFinishes) {
  SteppedScheduler scene;
  const auto request = scene.Submit(1, 100, /*max_tokens=*/2);
  scene.engine.OnCall([&] {
    if (scene.engine.calls().back().kind == test::FakeCall::Kind::kStep) scene.intake.Cancel(request.id());
  });
  scene.RunUntilIdle();
  EXPECT_TRUE(request.sink->finished().has_value());
}

TEST(SchedulerTest, DeadlineEndsAQueuedRequestWhileOthersRun) {
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

TEST(SchedulerTest, DeadlineEndsPrefillAtTheNextChunkAndDecodeAtTheNextStep) {
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

TEST(SchedulerTest, FailingSequenceFailsAlone) {
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

TEST(SchedulerTest, EngineErrorsCannotPassForTheCallersOwn) {
  SteppedScheduler scene;
  scene.engine.Script(1, {.fail_at_chunk = 0, .failure = absl::CancelledError("by whom?")});
  scene.engine.Script(2, {.fail_at_token = 1, .failure = absl::ResourceExhaustedError("no pages")});
  const auto first = scene.Submit(1, 100), second = scene.Submit(2, 100);
  scene.RunUntilIdle();
  EXPECT_EQ(first.sink->failed().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(second.sink->failed().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(scene.metrics.Value(metric::kCancellations, {"prefill"}), 0);
}

TEST(SchedulerTest, PrefillWithoutAFirstTokenIsAnInternalError) {
  SteppedScheduler scene;
  scene.engine.Script(1, {.no_first_token = true});
  const auto request = scene.Submit(1, 100);
  scene.RunUntilIdle();
  EXPECT_EQ(request.sink->failed().code(), absl::StatusCode::kInternal);
}

TEST(SchedulerTest, InvalidRequestsAreRefusedWithTheEnginesWords) {
  SteppedScheduler scene;
  const auto request = scene.Submit(1, 0);
  EXPECT_EQ(request.admission.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(request.admission.status().message()), HasSubstr("prompt is empty"));
  EXPECT_EQ(scene.metrics.Value(metric::kAdmissionRejections, {"invalid"}), 1);
}

// --- Admission ---

TEST(SchedulerTest, QueueLimitCountsWhatHasNotStarted) {
  SteppedScheduler scene({.max_queued_requests = 2}, DenseEngine());
  ASSERT_TRUE(scene.Submit(1, 100).admission.ok());
  scene.loop.RunOnce();
  ASSERT_TRUE(scene.Submit(2, 100).admission.ok());
  ASSERT_TRUE(scene.Submit(3, 100).admission.ok());
  EXPECT_EQ(scene.Submit(4, 100).admission.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(scene.metrics.Value(metric::kAdmissionRejections, {"queue_full"}), 1);
  EXPECT_EQ(scene.metrics.Value(metric::kRequestsWaiting), 2);
  EXPECT_EQ(scene.metrics.Value(metric::kRequestsRunning), 1);
  EXPECT_EQ(scene.metrics.Value(metric::kQueuedPromptTokens), 200);
  scene.RunUntilIdle();
  EXPECT_TRUE(scene.Submit(5, 100).admission.ok());
}

// Teaches the cost model with prompts of many lengths.
void WarmUp(SteppedScheduler& scene) {
  for (int tokens : {300, 5000, 1200, 9000, 700}) {
    ASSERT_TRUE(scene.Submit(999, tokens, 1).admission.ok());
    scene.RunUntilIdle();
  }
}

TEST(SchedulerTest, PredictedTtftIsTheWorkAheadAndItsOwn) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  ASSERT_TRUE(scene.Submit(1, 8000, 1).admission.ok());
  ASSERT_TRUE(scene.Submit(2, 4200, 1).admission.ok());
  Request last = MakeRequest(scene.clock, 3, 9000, 1);
  last.priority = -1;
  ASSERT_TRUE(scene.Submit(std::move(last)).admission.ok());
  const auto request = scene.Submit(4, 7000, 1);
  scene.RunUntilIdle();
  const double predicted = absl::ToDoubleSeconds(request.admission->predicted_ttft);
  EXPECT_NEAR(absl::ToDoubleSeconds(request.sink->finished()->timings.ttft) / predicted, 1, 0.01);
}

TEST(SchedulerTest, PredictionLeavesOutLongPromptsThatWillBeOvertaken) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  ASSERT_TRUE(scene.Submit(1, 32000, 1).admission.ok());
  const double own = scene.engine.Seconds(scene.engine.EstimateWork(100, engine::PruningMode::kAuto));
  EXPECT_NEAR(absl::ToDoubleSeconds(scene.Submit(2, 100, 1).admission->predicted_ttft) / own, 1, 0.01);
}

TEST(SchedulerTest, PredictionCountsOnlyWhatIsLeftOfAPrefillUnderWay) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  ASSERT_TRUE(scene.Submit(1, 9000, 1).admission.ok());
  for (int i = 0; i < 10; ++i) scene.loop.RunOnce();
  const auto request = scene.Submit(2, 9000, 1);
  scene.RunUntilIdle();
  const double predicted = absl::ToDoubleSeconds(request.admission->predicted_ttft);
  EXPECT_NEAR(absl::ToDoubleSeconds(request.sink->finished()->timings.ttft) / predicted, 1, 0.01);
}

TEST(SchedulerTest, DeadlineThatCannotBeMetIsRefusedAtOnce) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  const double seconds = scene.engine.Seconds(scene.engine.EstimateWork(32768, engine::PruningMode::kAuto));
  Request request = MakeRequest(scene.clock, 1, 32768);
  request.deadline = scene.clock.Now() + absl::Seconds(seconds * 0.8);
  const auto refused = scene.Submit(request);
  EXPECT_EQ(refused.admission.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(refused.admission.status().message()), HasSubstr("is predicted in"));
  EXPECT_EQ(scene.metrics.Value(metric::kAdmissionRejections, {"deadline"}), 1);
  request.deadline = scene.clock.Now() + absl::Seconds(seconds * 1.2);
  EXPECT_TRUE(scene.Submit(request).admission.ok());
}

// --- Drain and stop ---

TEST(SchedulerTest, DrainRefusesNewRequestsAndEndsWhenTheOthersHave) {
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

TEST(SchedulerTest, StopFailsWhatIsLeftInEveryPhase) {
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
TEST(SchedulerTest, PagesAreFreeAndCountsRightWhenTheTerminalEventComes) {
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

// --- What is reported ---

TEST(SchedulerTest, LatencyAndTokenMetrics) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  ASSERT_TRUE(scene.Submit(1, 8192, 4).admission.ok());
  scene.RunUntilIdle();
  const Metrics& metrics = scene.metrics;
  EXPECT_EQ(metrics.Value(metric::kQueueSeconds), 1);
  EXPECT_EQ(metrics.Value(metric::kTtft, {"le_16k", "pruned"}), 1);
  EXPECT_EQ(metrics.Value(metric::kPrefillSeconds, {"1"}), 1);
  EXPECT_EQ(metrics.Value(metric::kPrefillSeconds, {"2"}), 1);
  EXPECT_EQ(metrics.Value(metric::kKeptRatio, {"1"}), 1);
  EXPECT_THAT(metrics.ScrapeText(), HasSubstr("slimfill_kept_token_ratio_sum{stage=\"1\"} 0.25"));
  EXPECT_EQ(metrics.Value(metric::kKeptRatio, {"2"}), 0);
  EXPECT_EQ(metrics.Value(metric::kInterToken), 3);
  EXPECT_EQ(metrics.Value(metric::kEndToEnd), 1);
  EXPECT_EQ(metrics.Value(metric::kGeneratedTokens), 4);
  EXPECT_EQ(metrics.Value(metric::kPromptTokens, {"computed"}), 8192);
}

TEST(SchedulerTest, FallbacksAreCountedByReason) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  scene.engine.Script(1, {.fallbacks = {"low_peak"}});
  ASSERT_TRUE(scene.Submit(1, 8192, 1).admission.ok());
  scene.RunUntilIdle();
  EXPECT_EQ(scene.metrics.Value(metric::kPruningFallback, {"low_peak"}), 1);
}

// Runs `body` and returns what was logged.
template <typename Body>
std::string LogOf(Body body) {
  std::ostringstream out;
  auto before = spdlog::default_logger();
  auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
  logger->set_pattern("%l %v");
  spdlog::set_default_logger(logger);
  body();
  spdlog::set_default_logger(before);
  return out.str();
}

TEST(SchedulerTest, OneLogLineARequest) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  const std::string log = LogOf([&] {
    Request request = MakeRequest(scene.clock, 1, 8192, 4);
    request.trace_id = "0af7651916cd43dd8448eb211c80319c";
    ASSERT_TRUE(scene.Submit(std::move(request)).admission.ok());
    scene.RunUntilIdle();
  });
  EXPECT_THAT(log, StartsWith("info request id=1 method=Generate trace=0af7651916cd43dd8448eb211c80319c outcome=OK "
                              "prompt_tokens=8192 cached_tokens=0 output_tokens=4 kept=2048 queue_ms=0 prefill_ms="));
  EXPECT_THAT(log, HasSubstr(" served_by=cold\n"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1);
}

TEST(SchedulerTest, LogLineCannotBeForgedThroughTheTraceId) {
  SteppedScheduler scene;
  const std::string log = LogOf([&] {
    Request request = MakeRequest(scene.clock, 1, 100, 1);
    request.trace_id = "x outcome=OK\nrequest id=2" + std::string(1000, 'y');
    ASSERT_TRUE(scene.Submit(std::move(request)).admission.ok());
    scene.RunUntilIdle();
  });
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1);
  EXPECT_THAT(log, HasSubstr("trace=x_outcome_OK_request_id_2"));
  EXPECT_LT(log.size(), 500u);
}

TEST(SchedulerTest, InternalErrorsAreLoggedWithTheirText) {
  SteppedScheduler scene;
  scene.engine.Script(1, {.fail_at_chunk = 0, .failure = absl::InternalError("kernel \"x\"\nfailed")});
  const std::string log = LogOf([&] {
    ASSERT_TRUE(scene.Submit(1, 100).admission.ok());
    scene.RunUntilIdle();
  });
  EXPECT_THAT(log, StartsWith("error request id=1 "));
  EXPECT_THAT(log, HasSubstr("outcome=INTERNAL"));
  EXPECT_THAT(log, HasSubstr(R"(error="kernel \"x\"\nfailed")"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1);
}

// --- Speedup ---

double DenseSeconds(const SteppedScheduler& scene, int64_t tokens) {
  return scene.engine.Seconds(scene.engine.EstimateWork(tokens, engine::PruningMode::kOff));
}

TEST(SchedulerTest, DenseEquivalentIsWhatADensePrefillWouldHaveTaken) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  const auto request = scene.Submit(1, 16384, 1);
  scene.RunUntilIdle();
  const Finished finished = *request.sink->finished();
  ASSERT_TRUE(finished.dense_equivalent_ttft.has_value());
  EXPECT_NEAR(absl::ToDoubleSeconds(*finished.dense_equivalent_ttft) / DenseSeconds(scene, 16384), 1, 0.01);
  EXPECT_LT(finished.dense_equivalent_error, 0.1);
  EXPECT_GT(scene.metrics.Value(metric::kSpeedup, {"model"}), 1);
  EXPECT_LT(scene.metrics.Value(metric::kCostModelError), 0.1);
}

TEST(SchedulerTest, DenseEquivalentFollowsTheRequestsOwnPace) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  scene.engine.Script(1, {.slowness = 1.1});
  const auto request = scene.Submit(1, 8192, 1);
  scene.RunUntilIdle();
  ASSERT_TRUE(request.sink->finished()->dense_equivalent_ttft.has_value());
  EXPECT_NEAR(absl::ToDoubleSeconds(*request.sink->finished()->dense_equivalent_ttft) / DenseSeconds(scene, 8192), 1.1,
              0.02);
}

TEST(SchedulerTest, DenseEquivalentWaitsAsLongAsTheRequestDid) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  ASSERT_TRUE(scene.Submit(2, 9000, 1).admission.ok());
  const auto request = scene.Submit(1, 8192, 1);
  scene.RunUntilIdle();
  const Finished finished = *request.sink->finished();
  EXPECT_GT(finished.timings.queue, absl::Milliseconds(100));
  EXPECT_NEAR(
      absl::ToDoubleSeconds(*finished.dense_equivalent_ttft - finished.timings.queue) / DenseSeconds(scene, 8192), 1,
      0.01);
}

TEST(SchedulerTest, DenseEquivalentOfAWarmRequestLeavesOutWhatIsStored) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  scene.engine.Script(1, {.cached_tokens = 8192});
  const auto request = scene.Submit(1, 16384, 1);
  scene.RunUntilIdle();
  const double expected = DenseSeconds(scene, 16384) - DenseSeconds(scene, 8192);
  EXPECT_NEAR(absl::ToDoubleSeconds(*request.sink->finished()->dense_equivalent_ttft) / expected, 1, 0.01);
}

TEST(SchedulerTest, DenseEquivalentIsAbsentWhileTheModelIsWrong) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  scene.engine.Script(1, {.slowness = 3});
  const auto request = scene.Submit(1, 16384, 1);
  scene.RunUntilIdle();
  EXPECT_FALSE(request.sink->finished()->dense_equivalent_ttft.has_value());
  EXPECT_GT(request.sink->finished()->dense_equivalent_error, 0.1);
  EXPECT_THAT(scene.metrics.ScrapeText(), Not(HasSubstr("slimfill_ttft_speedup_ratio{")));
}

TEST(SchedulerTest, RandomizedShareRunsDense) {
  SteppedScheduler scene({.randomized_dense_share = 0.5, .seed = 3});
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(scene.Submit(1, 8192, 1).admission.ok());
    scene.RunUntilIdle();
  }
  const double dense = scene.metrics.Value(metric::kTtft, {"le_16k", "dense"});
  EXPECT_GT(dense, 35);
  EXPECT_LT(dense, 65);
  const double ratio =
      DenseSeconds(scene, 8192) / scene.engine.Seconds(scene.engine.EstimateWork(8192, engine::PruningMode::kAuto));
  EXPECT_NEAR(scene.metrics.Value(metric::kSpeedup, {"randomized"}), ratio, 1e-6);
}

TEST(SchedulerTest, OnlyEligibleRequestsAreDrawn) {
  SteppedScheduler scene({.randomized_dense_share = 1}, {.pages_total = 1000});
  Request custom = MakeRequest(scene.clock, 1, 8192, 1);
  custom.sequence.pruning.mode = engine::PruningMode::kCustom;
  Request traced = MakeRequest(scene.clock, 1, 8192, 1);
  traced.sequence.pruning.trace = true;
  ASSERT_TRUE(scene.Submit(std::move(custom)).admission.ok());
  ASSERT_TRUE(scene.Submit(std::move(traced)).admission.ok());
  scene.RunUntilIdle();
  EXPECT_EQ(scene.metrics.Value(metric::kTtft, {"le_16k", "pruned"}), 2);
  ASSERT_TRUE(scene.Submit(1, 8192, 1).admission.ok());
  scene.RunUntilIdle();
  EXPECT_EQ(scene.metrics.Value(metric::kTtft, {"le_16k", "dense"}), 1);
}

TEST(SchedulerTest, RequestThatCouldNotRunDenseInTimeIsNotDrawn) {
  SteppedScheduler scene({.randomized_dense_share = 1});
  WarmUp(scene);
  Request request = MakeRequest(scene.clock, 1, 32768, 1);
  request.deadline = scene.clock.Now() + absl::Seconds(DenseSeconds(scene, 32768) * 0.7);
  const auto submitted = scene.Submit(std::move(request));
  scene.RunUntilIdle();
  ASSERT_TRUE(submitted.sink->finished().has_value());
  EXPECT_TRUE(submitted.sink->finished()->prefill.pruned);
}

TEST(SchedulerTest, DrawsFollowFromTheSeed) {
  const auto dense_of = [](uint64_t seed) {
    SteppedScheduler scene({.randomized_dense_share = 0.3, .seed = seed});
    std::vector<bool> dense;
    for (int i = 0; i < 40; ++i) {
      const auto request = scene.Submit(1, 4096, 1);
      scene.RunUntilIdle();
      dense.push_back(!request.sink->finished()->prefill.pruned);
    }
    return dense;
  };
  EXPECT_EQ(dense_of(1), dense_of(1));
  EXPECT_NE(dense_of(1), dense_of(2));
}

}  // namespace
}  // namespace slimfill::scheduler
