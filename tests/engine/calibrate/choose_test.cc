#include "engine/calibrate/choose.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::calibrate {
namespace {

using engine::LayerHead;
using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr int kLayers = 12, kHeads = 4, kBlocks = 40;

engine::ModelConfig Config() {
  engine::ModelConfig config;
  config.layers = 20;
  config.hidden = 64;
  config.heads = kHeads;
  config.kv_heads = kHeads;
  config.head_dim = 16;
  config.ffn = 256;
  return config;
}

// A prompt of 40 blocks where every head prefers the last blocks that are not forced, for no reason.
Observation Blind(std::string kind, std::vector<int32_t> evidence) {
  Observation observation{.kind = std::move(kind), .prompt_tokens = kBlocks * 64, .evidence = std::move(evidence)};
  observation.heads.layers = kLayers;
  observation.heads.heads = kHeads;
  observation.heads.blocks = kBlocks;
  observation.heads.forced = {0, 38, 39};
  for (int i = 0; i < kLayers * kHeads; ++i) {
    for (int block = 0; block < kBlocks; ++block) {
      observation.heads.scores.push_back(static_cast<float>(block) / kBlocks / 10);
    }
    observation.heads.peaks.push_back(.1f);
  }
  return observation;
}

// Lets a head see a block.
void Sees(LayerHead head, int32_t block, float mass, Observation& observation) {
  const int64_t row = int64_t{head.layer} * kHeads + head.head;
  observation.heads.scores[row * kBlocks + block] = mass;
  observation.heads.peaks[row] = std::max(observation.heads.peaks[row], mass);
}

// Questions of two kinds whose evidence stands early; head (4, 1) sees all of it, head (2, 3) that of the first kind.
std::vector<Observation> Questions() {
  std::vector<Observation> observations;
  for (int i = 0; i < 8; ++i) {
    Observation observation = Blind(i % 2 == 0 ? "needle" : "code", {2 + i});
    Sees({4, 1}, 2 + i, .9f, observation);
    if (i % 2 == 0) Sees({2, 3}, 2 + i, .8f, observation);
    observations.push_back(std::move(observation));
  }
  return observations;
}

TEST(ObservationTest, RecallIsTheShareOfEvidenceKept) {
  Observation observation = Blind("needle", {3, 5});
  Sees({1, 1}, 3, .9f, observation);
  const engine::PrunePlan plan;
  EXPECT_EQ(Recall(observation, plan, CombinedScores(observation, {{1, 1}}), .25), .5);
  EXPECT_EQ(Recall(observation, plan, CombinedScores(observation, {{1, 0}}), .25), 0);
  EXPECT_EQ(Recall(observation, plan, CombinedScores(observation, {{1, 0}}), 1), 1);
}

TEST(ObservationTest, KindsCountAlikeHoweverManyCasesTheyHave) {
  std::vector<Observation> observations = Questions();  // (2, 3) sees the needles only
  observations.push_back(Blind("summary", {}));
  const engine::PrunePlan plan;
  EXPECT_EQ(KindBalancedRecall(observations, plan, {{2, 3}}, .25), .5);
  observations.push_back(observations[0]);
  EXPECT_EQ(KindBalancedRecall(observations, plan, {{2, 3}}, .25), .5);
  EXPECT_EQ(KindBalancedRecall(observations, plan, {{4, 1}}, .25), 1);
}

TEST(ChoosePlanTest, TakesTheEarliestLayerThatHoldsTheTarget) {
  const absl::StatusOr<Choice> choice = ChoosePlan(Questions(), Config(), {.name = "test"});
  ASSERT_TRUE(choice.ok()) << choice.status();
  const engine::PrunePlan& plan = choice->plan;
  EXPECT_EQ(plan.name, "test");
  ASSERT_FALSE(plan.stages.empty());
  EXPECT_EQ(plan.stages[0].prune_layer, 4);
  EXPECT_THAT(plan.stages[0].heads, ElementsAre(LayerHead{4, 1}));
  EXPECT_EQ(plan.stages[0].keep_ratio, .125);  // the smallest budget holds it
  EXPECT_LE(plan.stages.size(), 2);
  EXPECT_TRUE(engine::CheckPlan(plan, Config()).ok()) << engine::CheckPlan(plan, Config());
  EXPECT_THAT(choice->first_layers, SizeIs(kLayers));
  EXPECT_EQ(choice->first_layers[2].recall[0], .5);
}

TEST(ChoosePlanTest, AddsALastPruningWhereAskedTo) {
  const absl::StatusOr<Choice> choice = ChoosePlan(Questions(), Config(), {.third_ratio = .0625});
  ASSERT_TRUE(choice.ok()) << choice.status();
  const engine::PlanStage& last = choice->plan.stages.back();
  EXPECT_EQ(last.prune_layer, 18);
  EXPECT_EQ(last.score, engine::ScoreKind::kPrevious);
  EXPECT_LE(last.keep_ratio, .0625);
}

TEST(ChoosePlanTest, ALowerTargetPrunesEarlier) {
  const absl::StatusOr<Choice> choice = ChoosePlan(Questions(), Config(), {.recall = .5});
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_EQ(choice->plan.stages[0].prune_layer, 2);
  ASSERT_TRUE(choice->plan.retry.has_value());
  EXPECT_EQ(choice->plan.retry->prune_layer, 4);  // sees more
  EXPECT_TRUE(engine::CheckPlan(choice->plan, Config()).ok());
}

TEST(ChoosePlanTest, SaysWhenNoHeadRetrieves) {
  const absl::Status status = ChoosePlan({Blind("needle", {2}), Blind("code", {4})}, Config(), {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("--recall"));
}

TEST(ChooseThresholdsTest, PartsQuestionsFromControls) {
  engine::PrunePlan plan = ChoosePlan(Questions(), Config(), {.recall = .5})->plan;
  std::vector<Observation> fresh = Questions();
  for (int i = 0; i < 4; ++i) fresh.push_back(Blind("summary", {}));
  ChooseThresholds(fresh, Config(), /*false_alarms=*/0, plan);
  EXPECT_FLOAT_EQ(plan.min_peak, .8f);  // of (2, 3) where it sees its needle
  EXPECT_GT(plan.max_entropy, 0);
  EXPECT_LE(plan.max_entropy, 1);
}

}  // namespace
}  // namespace slimfill::calibrate
