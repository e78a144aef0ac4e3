#include "engine/calibrate/trial.h"

#include <cmath>

#include "gtest/gtest.h"

namespace slimfill::calibrate {
namespace {

eval::CaseResult Result(const char* arm, const char* kind, double nll, double flops_ratio) {
  eval::CaseResult result{.document_id = kind, .kind = kind};
  result.by_arm[arm].nll = nll;
  result.by_arm[arm].flops_ratio = flops_ratio;
  return result;
}

TEST(CompareTest, AnAnswerIsNotMoreThanLost) {
  const std::vector<eval::CaseResult> dense = {Result(kDenseArm, "needle", 2, 1), Result(kDenseArm, "code", 1, 1),
                                               Result(kDenseArm, "code", 1, 1), Result(kDenseArm, "code", 1, 1)};
  const std::vector<eval::CaseResult> pruned = {Result(kPlanArm, "needle", 1.5, 2), Result(kPlanArm, "code", 8, 4),
                                                Result(kPlanArm, "code", 1.5, 3)};  // stopped before the last
  const Trial trial = Compare(7, dense, pruned);
  EXPECT_EQ(trial.candidate, 7);
  EXPECT_EQ(trial.questions, 3);
  EXPECT_DOUBLE_EQ(trial.nll.mean, (-0.5 + 7 + 0.5) / 3);
  EXPECT_DOUBLE_EQ(trial.loss, (-0.5 + 1 + 0.5) / 3);
  EXPECT_NEAR(trial.loss_error, std::sqrt((1.5 / 3 - 1.0 / 9) / 2), 1e-12);
  EXPECT_DOUBLE_EQ(trial.flops_ratio, 3);
}

TEST(BestCandidateTest, TakesTheCheapestWithinTheMarginElseTheLeastLoss) {
  EXPECT_EQ(BestCandidate({}, 0.1), 0);
  EXPECT_EQ(BestCandidate({{.candidate = 0, .loss = 0.1}, {.candidate = 1, .loss = 0.05}}, 0.1), 0);
  EXPECT_EQ(BestCandidate({{.candidate = 0, .loss = 0.3}, {.candidate = 1, .loss = 0.05}}, 0.1), 1);
  EXPECT_EQ(BestCandidate(
                {{.candidate = 0, .loss = 0.3}, {.candidate = 1, .loss = 0.2}, {.candidate = 2, .loss = 0.25}}, 0.1),
            1);
}

TEST(PruneLayersTest, NamesThem) {
  engine::PrunePlan plan;
  plan.stages = {{.prune_layer = 3}, {.prune_layer = 13}};
  EXPECT_EQ(PruneLayers(plan), "3, 13");
}

}  // namespace
}  // namespace slimfill::calibrate
