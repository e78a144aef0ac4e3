#include "scheduler/speedup.h"

#include <cmath>
#include <random>
#include <string>

#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::scheduler {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(PromptBucketTest, LimitsAreInclusive) {
  EXPECT_STREQ(kPromptBucketNames[PromptBucket(0)], "le_1k");
  EXPECT_STREQ(kPromptBucketNames[PromptBucket(1024)], "le_1k");
  EXPECT_STREQ(kPromptBucketNames[PromptBucket(1025)], "le_4k");
  EXPECT_STREQ(kPromptBucketNames[PromptBucket(16384)], "le_16k");
  EXPECT_STREQ(kPromptBucketNames[PromptBucket(65536)], "le_64k");
  EXPECT_STREQ(kPromptBucketNames[PromptBucket(65537)], "gt_64k");
  EXPECT_STREQ(kPromptBucketNames[PromptBucket(int64_t{1} << 40)], "gt_64k");
}

TEST(SpeedupTrackerTest, ModelIsTheGeometricMean) {
  Metrics metrics;
  SpeedupTracker tracker(metrics);
  tracker.SetModelTrusted(true);
  tracker.RecordModel(1);
  tracker.RecordModel(4);
  EXPECT_NEAR(metrics.Value(metric::kSpeedup, {"model"}), 2, 1e-12);
}

TEST(SpeedupTrackerTest, ModelLooksAtTheLastRequestsOnly) {
  Metrics metrics;
  SpeedupTracker tracker(metrics);
  tracker.SetModelTrusted(true);
  for (size_t i = 0; i < SpeedupTracker::kWindow; ++i) tracker.RecordModel(10);
  for (size_t i = 0; i < SpeedupTracker::kWindow; ++i) tracker.RecordModel(3);
  EXPECT_NEAR(metrics.Value(metric::kSpeedup, {"model"}), 3, 1e-9);
}

TEST(SpeedupTrackerTest, ModelIsAbsentWhileNotTrusted) {
  Metrics metrics;
  SpeedupTracker tracker(metrics);
  tracker.RecordModel(5);  // not trusted yet: not even remembered
  EXPECT_THAT(metrics.ScrapeText(), Not(HasSubstr("slimfill_ttft_speedup_ratio{")));
  tracker.SetModelTrusted(true);
  EXPECT_THAT(metrics.ScrapeText(), Not(HasSubstr("slimfill_ttft_speedup_ratio{")));
  tracker.RecordModel(2);
  EXPECT_THAT(metrics.ScrapeText(), HasSubstr("slimfill_ttft_speedup_ratio{method=\"model\"} 2"));
  tracker.SetModelTrusted(false);
  EXPECT_THAT(metrics.ScrapeText(), Not(HasSubstr("slimfill_ttft_speedup_ratio{")));
  tracker.SetModelTrusted(true);
  EXPECT_THAT(metrics.ScrapeText(), HasSubstr("slimfill_ttft_speedup_ratio{method=\"model\"} 2"));
}

void RecordPairs(ArmComparison& arms, int count, int64_t tokens, double dense, double pruned) {
  for (int i = 0; i < count; ++i) {
    arms.Record(Arm::kDense, tokens, dense);
    arms.Record(Arm::kPruned, tokens, pruned);
  }
}

TEST(ArmComparisonTest, NeedsThirtySamplesAnArm) {
  ArmComparison arms;
  RecordPairs(arms, 29, 8000, 8, 2);
  for (int i = 0; i < 1000; ++i) arms.Record(Arm::kPruned, 8000, 2);
  EXPECT_FALSE(arms.Estimate().has_value());
  arms.Record(Arm::kDense, 8000, 8);
  ASSERT_TRUE(arms.Estimate().has_value());
  EXPECT_NEAR(arms.Estimate()->ratio, 4, 1e-9);
}

TEST(ArmComparisonTest, SamplesInBucketsWithoutTheOtherArmDoNotCount) {
  ArmComparison arms;
  for (int i = 0; i < 100; ++i) arms.Record(Arm::kDense, 500, 1);
  for (int i = 0; i < 100; ++i) arms.Record(Arm::kPruned, 8000, 1);
  EXPECT_FALSE(arms.Estimate().has_value());
}

TEST(ArmComparisonTest, ComparesWithinBucketsSoThatTheirMixDoesNotMatter) {
  // In each bucket pruning is twice as fast; the dense arm happens to hold mostly short prompts. Pooled means would say
  // that pruning is slower.
  ArmComparison arms;
  for (int i = 0; i < 90; ++i) arms.Record(Arm::kDense, 500, 2);
  for (int i = 0; i < 10; ++i) arms.Record(Arm::kDense, 30000, 200);
  for (int i = 0; i < 10; ++i) arms.Record(Arm::kPruned, 500, 1);
  for (int i = 0; i < 90; ++i) arms.Record(Arm::kPruned, 30000, 100);
  EXPECT_NEAR(arms.Estimate()->ratio, 2, 1e-9);
}

TEST(ArmComparisonTest, BucketsWeighByTheirRequests) {
  ArmComparison arms;
  RecordPairs(arms, 30, 500, 1, 1);    // ratio 1
  RecordPairs(arms, 90, 8000, 16, 1);  // ratio 16
  EXPECT_NEAR(arms.Estimate()->ratio, std::pow(16, 0.75), 1e-9);
}

TEST(ArmComparisonTest, IntervalHoldsTheTruthAboutNineteenTimesInTwenty) {
  std::mt19937 random(7);
  std::normal_distribution<double> noise(0, 0.5);
  int covered = 0;
  constexpr int kExperiments = 400;
  for (int experiment = 0; experiment < kExperiments; ++experiment) {
    ArmComparison arms;
    for (int i = 0; i < 40; ++i) arms.Record(Arm::kDense, i % 2 ? 500 : 8000, 3 * std::exp(noise(random)));
    for (int i = 0; i < 400; ++i) arms.Record(Arm::kPruned, i % 2 ? 500 : 8000, std::exp(noise(random)));
    const RatioEstimate estimate = *arms.Estimate();
    EXPECT_LT(estimate.low, estimate.ratio);
    EXPECT_LT(estimate.ratio, estimate.high);
    covered += estimate.low <= 3 && 3 <= estimate.high;
  }
  EXPECT_GT(covered, kExperiments * 0.92);
  EXPECT_LT(covered, kExperiments * 0.98);
}

TEST(ArmComparisonTest, IgnoresWhatIsNotPartOfTheExperiment) {
  ArmComparison arms;
  RecordPairs(arms, 30, 500, 6, 2);
  for (int i = 0; i < 100; ++i) arms.Record(Arm::kNone, 500, 1000);
  arms.Record(Arm::kDense, 500, 0);  // no logarithm
  EXPECT_NEAR(arms.Estimate()->ratio, 3, 1e-9);
}

TEST(SpeedupTrackerTest, RandomizedAppearsWithItsIntervalOnceThereAreEnoughSamples) {
  Metrics metrics;
  SpeedupTracker tracker(metrics);
  for (int i = 0; i < 29; ++i) {
    tracker.RecordArm(Arm::kDense, 500, 6);
    tracker.RecordArm(Arm::kPruned, 500, 2);
  }
  EXPECT_THAT(metrics.ScrapeText(), Not(HasSubstr("method=\"randomized\"")));
  tracker.RecordArm(Arm::kDense, 500, 6);
  tracker.RecordArm(Arm::kPruned, 500, 2);
  EXPECT_NEAR(metrics.Value(metric::kSpeedup, {"randomized"}), 3, 1e-9);
  EXPECT_NEAR(metrics.Value(metric::kSpeedupLow, {"randomized"}), 3, 1e-9);
  EXPECT_NEAR(metrics.Value(metric::kSpeedupHigh, {"randomized"}), 3, 1e-9);
}

}  // namespace
}  // namespace slimfill::scheduler
