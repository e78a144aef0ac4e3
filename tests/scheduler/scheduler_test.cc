// The order of work, stepped by hand so that times are exact.
#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_scene.h"

namespace slimfill::scheduler {
namespace {

using ::testing::StartsWith;

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
  EXPECT_EQ(request.admission.status().code(), absl::StatusCode::kInvalidArgument);
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

}  // namespace
}  // namespace slimfill::scheduler
