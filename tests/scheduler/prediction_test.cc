// What the scheduler predicts: admission by it, and the figures of speedup.
#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_scene.h"

namespace slimfill::scheduler {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Teaches the cost model with prompts of many lengths.
void WarmUp(SteppedScheduler& scene) {
  for (int tokens : {300, 5000, 1200, 9000, 700}) {
    ASSERT_TRUE(scene.Submit(999, tokens, 1).admission.ok());
    scene.RunUntilIdle();
  }
}

// --- Admission ---

TEST(SchedulerPredictionTest, QueueLimitCountsWhatHasNotStarted) {
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

TEST(SchedulerPredictionTest, PredictedTtftIsTheWorkAheadAndItsOwn) {
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

TEST(SchedulerPredictionTest, PredictionLeavesOutLongPromptsThatWillBeOvertaken) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  ASSERT_TRUE(scene.Submit(1, 32000, 1).admission.ok());
  const double own = scene.engine.Seconds(scene.engine.EstimateWork(100, engine::PruningMode::kAuto));
  EXPECT_NEAR(absl::ToDoubleSeconds(scene.Submit(2, 100, 1).admission->predicted_ttft) / own, 1, 0.01);
}

TEST(SchedulerPredictionTest, PredictionCountsOnlyWhatIsLeftOfAPrefillUnderWay) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  ASSERT_TRUE(scene.Submit(1, 9000, 1).admission.ok());
  for (int i = 0; i < 10; ++i) scene.loop.RunOnce();
  const auto request = scene.Submit(2, 9000, 1);
  scene.RunUntilIdle();
  const double predicted = absl::ToDoubleSeconds(request.admission->predicted_ttft);
  EXPECT_NEAR(absl::ToDoubleSeconds(request.sink->finished()->timings.ttft) / predicted, 1, 0.01);
}

TEST(SchedulerPredictionTest, DeadlineThatCannotBeMetIsRefusedAtOnce) {
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

// --- Speedup ---

double DenseSeconds(const SteppedScheduler& scene, int64_t tokens) {
  return scene.engine.Seconds(scene.engine.EstimateWork(tokens, engine::PruningMode::kOff));
}

TEST(SchedulerPredictionTest, DenseEquivalentIsWhatADensePrefillWouldHaveTaken) {
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

TEST(SchedulerPredictionTest, DenseEquivalentFollowsTheRequestsOwnPace) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  scene.engine.Script(1, {.slowness = 1.1});
  const auto request = scene.Submit(1, 8192, 1);
  scene.RunUntilIdle();
  ASSERT_TRUE(request.sink->finished()->dense_equivalent_ttft.has_value());
  EXPECT_NEAR(absl::ToDoubleSeconds(*request.sink->finished()->dense_equivalent_ttft) / DenseSeconds(scene, 8192), 1.1,
              0.02);
}

TEST(SchedulerPredictionTest, DenseEquivalentWaitsAsLongAsTheRequestDid) {
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

TEST(SchedulerPredictionTest, DenseEquivalentOfAWarmRequestLeavesOutWhatIsStored) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  scene.engine.Script(1, {.cached_tokens = 8192});
  const auto request = scene.Submit(1, 16384, 1);
  scene.RunUntilIdle();
  const double expected = DenseSeconds(scene, 16384) - DenseSeconds(scene, 8192);
  EXPECT_NEAR(absl::ToDoubleSeconds(*request.sink->finished()->dense_equivalent_ttft) / expected, 1, 0.01);
}

TEST(SchedulerPredictionTest, DenseEquivalentIsAbsentWhileTheModelIsWrong) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  WarmUp(scene);
  scene.engine.Script(1, {.slowness = 3});
  const auto request = scene.Submit(1, 16384, 1);
  scene.RunUntilIdle();
  EXPECT_FALSE(request.sink->finished()->dense_equivalent_ttft.has_value());
  EXPECT_GT(request.sink->finished()->dense_equivalent_error, 0.1);
  EXPECT_THAT(scene.metrics.ScrapeText(), Not(HasSubstr("slimfill_ttft_speedup_ratio{")));
}

TEST(SchedulerPredictionTest, RandomizedShareRunsDense) {
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

TEST(SchedulerPredictionTest, OnlyEligibleRequestsAreDrawn) {
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

TEST(SchedulerPredictionTest, RequestThatCouldNotRunDenseInTimeIsNotDrawn) {
  SteppedScheduler scene({.randomized_dense_share = 1});
  WarmUp(scene);
  Request request = MakeRequest(scene.clock, 1, 32768, 1);
  request.deadline = scene.clock.Now() + absl::Seconds(DenseSeconds(scene, 32768) * 0.7);
  const auto submitted = scene.Submit(std::move(request));
  scene.RunUntilIdle();
  ASSERT_TRUE(submitted.sink->finished().has_value());
  EXPECT_TRUE(submitted.sink->finished()->prefill.pruned);
}

TEST(SchedulerPredictionTest, DrawsFollowFromTheSeed) {
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
