#include "engine/calibrate/choose.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::calibrate {
namespace {

using engine::LayerHead;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kLayers = 12, kHeads = 4, kBlocks = 40, kLinkLayers = 4;

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

// A prompt of 40 blocks where every head prefers the last blocks that are not forced, for no reason. No head links.
Observation Blind(std::string kind, std::vector<int32_t> evidence) {
  Observation observation{.kind = std::move(kind),
                          .target_tokens = kBlocks * 64,
                          .prompt_tokens = kBlocks * 64,
                          .evidence = std::move(evidence)};
  engine::HeadStudy& study = observation.study;
  study = {.layers = kLayers, .heads = kHeads, .link_layers = kLinkLayers, .blocks = kBlocks, .forced = {0, 38, 39}};
  for (int i = 0; i < kLayers * kHeads; ++i) {
    for (int unit = 0; unit < kBlocks * 8; ++unit) {
      study.units.push_back(static_cast<float>(unit / 8) / kBlocks / 10);
    }
  }
  study.looks.resize(kLinkLayers * kHeads * kBlocks * 8 * engine::HeadStudy::kLinksPerUnit);
  return observation;
}

// Lets a head see the middle of a block, so that it does not count for its neighbours.
void Sees(LayerHead head, int32_t block, float mass, Observation& observation) {
  observation.study.units[((int64_t{head.layer} * kHeads + head.head) * kBlocks + block) * 8 + 3] = mass;
}

// Lets a head's attention lead from the middle of a block to that of an earlier one.
void Links(LayerHead head, int32_t from, int32_t to, float mass, Observation& observation) {
  const int64_t unit = (int64_t{head.layer} * kHeads + head.head) * kBlocks * 8 + from * 8 + 3;
  observation.study.looks[unit * engine::HeadStudy::kLinksPerUnit] = {to * 8 + 3, mass};
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

double RecallBy(const Observation& observation, LayerHead head, double ratio) {
  const engine::PrunePlan plan;
  return Recall(observation, plan, ScoreCandidates(observation, plan, {head}, AllBlocks(observation), {}).scores,
                ratio);
}

TEST(ObservationTest, RecallIsTheShareOfEvidenceKept) {
  Observation observation = Blind("needle", {3, 5});
  Sees({1, 1}, 3, .9f, observation);
  EXPECT_EQ(RecallBy(observation, {1, 1}, .25), .5);
  EXPECT_EQ(RecallBy(observation, {1, 0}, .25), 0);
  EXPECT_EQ(RecallBy(observation, {1, 0}, 1), 1);
}

TEST(ObservationTest, KindsCountAlikeHoweverManyCasesTheyHave) {
  std::vector<Observation> observations = Questions();  // (2, 3) sees the needles only
  observations.push_back(Blind("summary", {}));
  const engine::PrunePlan plan;
  EXPECT_THAT(KindBalancedRecall(observations, plan, {{2, 3}}, {.25, 1}), ElementsAre(.5, 1));
  observations.push_back(observations[0]);
  EXPECT_THAT(KindBalancedRecall(observations, plan, {{2, 3}}, {.25}), ElementsAre(.5));
  EXPECT_THAT(KindBalancedRecall(observations, plan, {{4, 1}}, {.25}), ElementsAre(1));
}

TEST(FindPlansTest, TakesTheEarliestLayerThatHoldsTheTarget) {
  const absl::StatusOr<Findings> findings = FindPlans(Questions(), Config(), {.name = "test"});
  ASSERT_TRUE(findings.ok()) << findings.status();
  const auto& [plan, merit] = findings->candidates.front();
  EXPECT_EQ(plan.name, "test");
  EXPECT_EQ(plan.stages[0].prune_layer, 4);
  EXPECT_THAT(plan.stages[0].heads, ElementsAre(LayerHead{4, 1}));
  EXPECT_THAT(plan.links.heads, IsEmpty());    // nothing more to find
  EXPECT_EQ(plan.stages[0].keep_ratio, .125);  // the smallest budget holds it
  EXPECT_LE(plan.stages.size(), 2);
  EXPECT_EQ(merit.recall, 1);
  EXPECT_TRUE(engine::CheckPlan(plan, Config()).ok()) << engine::CheckPlan(plan, Config());
  EXPECT_THAT(findings->first_layers, SizeIs(kLayers));
  EXPECT_EQ(findings->first_layers[2].recall[0], .5);
}

TEST(FindPlansTest, ALowerTargetPrunesEarlier) {
  const absl::StatusOr<Findings> findings = FindPlans(Questions(), Config(), {.recall = .5});
  ASSERT_TRUE(findings.ok()) << findings.status();
  const engine::PrunePlan& plan = findings->candidates.front().plan;
  EXPECT_EQ(plan.stages[0].prune_layer, 2);
  ASSERT_TRUE(plan.retry.has_value());
  EXPECT_EQ(plan.retry->prune_layer, 4);  // sees more
  EXPECT_TRUE(engine::CheckPlan(plan, Config()).ok());
  // The others cost more and hold the target as well.
  for (size_t i = 1; i < findings->candidates.size(); ++i) {
    EXPECT_GE(findings->candidates[i].merit.cost, findings->candidates[i - 1].merit.cost);
    EXPECT_GE(findings->candidates[i].merit.recall, .5);
  }
}

TEST(FindPlansTest, FindsTheHeadsThatLinkWhatTheQuestionSeesToWhatItDoesNot) {
  std::vector<Observation> observations;
  for (int i = 0; i < 8; ++i) {
    Observation observation = Blind("variables", {2 + i, 20 + i});
    Sees({4, 1}, 20 + i, .9f, observation);
    Links({3, 2}, 20 + i, 2 + i, .8f, observation);
    Links({1, 0}, 20 + i, 30, .8f, observation);  // leads astray
    observations.push_back(std::move(observation));
  }
  const absl::StatusOr<Findings> findings = FindPlans(observations, Config(), {});
  ASSERT_TRUE(findings.ok()) << findings.status();
  const engine::PrunePlan& plan = findings->candidates.front().plan;
  EXPECT_EQ(plan.stages[0].prune_layer, 4);
  EXPECT_THAT(plan.links.heads, ElementsAre(LayerHead{3, 2}));
  EXPECT_EQ(plan.stages[0].keep_ratio, .125);
  EXPECT_EQ(findings->candidates.front().merit.recall, 1);
  EXPECT_TRUE(engine::CheckPlan(plan, Config()).ok()) << engine::CheckPlan(plan, Config());
}

// The short prompts' evidence is seen after a tenth of other blocks, that of the long ones at once.
TEST(FindPlansTest, KeepsLessOfLongerPromptsWhereThatHolds) {
  std::vector<Observation> observations;
  for (int i = 0; i < 4; ++i) {
    for (const bool is_short : {true, false}) {
      Observation observation = Blind("needle", {2 + i});
      if (!is_short) observation.target_tokens *= 4;
      Sees({4, 1}, 2 + i, .9f, observation);
      for (int block = 10; is_short && block < 20; ++block) Sees({4, 1}, block, .95f, observation);
      observations.push_back(std::move(observation));
    }
  }
  const absl::StatusOr<Findings> findings =
      FindPlans(observations, Config(), {.first = {.ratios = {.125, .25, .375, .5}, .keep_scores = {0}}});
  ASSERT_TRUE(findings.ok()) << findings.status();
  const engine::PlanStage& stage = findings->candidates.front().plan.stages[0];
  EXPECT_EQ(stage.prune_layer, 4);
  ASSERT_THAT(stage.keep_bands, SizeIs(2));
  EXPECT_EQ(stage.keep_bands[0].up_to_tokens, 2 * kBlocks * 64);  // half-way
  EXPECT_EQ(stage.keep_bands[0].ratio, .375);                     // 11 and three forced ones of 40
  EXPECT_EQ(stage.keep_bands[1].ratio, .125);
  EXPECT_TRUE(engine::CheckPlan(findings->candidates.front().plan, Config()).ok());
}

TEST(FindPlansTest, SaysWhenNoHeadRetrieves) {
  const absl::Status status = FindPlans({Blind("needle", {2}), Blind("code", {4})}, Config(), {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("--recall"));
}

TEST(ChooseThresholdsTest, PartsQuestionsFromControls) {
  engine::PrunePlan plan = FindPlans(Questions(), Config(), {.recall = .5})->candidates.front().plan;
  std::vector<Observation> fresh = Questions();
  for (int i = 0; i < 4; ++i) fresh.push_back(Blind("summary", {}));
  ChooseThresholds(fresh, Config(), /*false_alarms=*/0, plan);
  EXPECT_FLOAT_EQ(plan.min_peak, .8f);  // of (2, 3) where it sees its needle
  EXPECT_GT(plan.max_entropy, 0);
  EXPECT_LE(plan.max_entropy, 1);
}

}  // namespace
}  // namespace slimfill::calibrate
