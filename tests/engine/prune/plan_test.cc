#include "engine/prune/plan.h"

#include "absl/strings/str_cat.h"
#include "engine/prune/plans/builtin_plans_data.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::engine {
namespace {

using ::testing::HasSubstr;

ModelConfig Shape(Architecture architecture, int layers, int hidden, int heads) {
  ModelConfig config;
  config.architecture = architecture;
  config.layers = layers;
  config.hidden = hidden;
  config.heads = heads;
  return config;
}

ModelConfig Qwen05b() { return Shape(Architecture::kQwen2, 24, 896, 14); }
ModelConfig Qwen7b() { return Shape(Architecture::kQwen2, 28, 3584, 28); }
ModelConfig SmolLm2() { return Shape(Architecture::kLlama, 30, 576, 9); }
ModelConfig Llama8b() { return Shape(Architecture::kLlama, 32, 4096, 32); }

TEST(BuiltinPlanTest, ThereIsAFastAndASafeOneForTheModelsItWasCalibratedFor) {
  for (const auto& [config, name] : {std::pair(Qwen05b(), "qwen2.5-0.5b"), std::pair(SmolLm2(), "smollm2-135m")}) {
    EXPECT_EQ(BuiltinPlan(config, PlanVariant::kFast).name, absl::StrCat(name, "-fast"));
    EXPECT_EQ(BuiltinPlan(config, PlanVariant::kSafe).name, absl::StrCat(name, "-safe"));
  }
}

TEST(BuiltinPlanTest, AnAuthorsPlanServesAsBoth) {
  for (const PlanVariant variant : {PlanVariant::kFast, PlanVariant::kSafe}) {
    EXPECT_EQ(BuiltinPlan(Llama8b(), variant).name, "llama-3.1-8b");
    EXPECT_EQ(BuiltinPlan(Qwen7b(), variant).name, "qwen2.5-7b");
  }
}

TEST(BuiltinPlanTest, EveryPlanFileIsOfAKnownModelAndValid) {
  size_t plans = 0;
  for (const ModelConfig& config : {Qwen05b(), SmolLm2(), Llama8b(), Qwen7b()}) {
    for (const PrunePlan& plan : BuiltinPlans(config)) {
      EXPECT_TRUE(CheckPlan(plan, config).ok()) << plan.name;
      ++plans;
    }
  }
  EXPECT_EQ(plans, BuiltinPlanTexts().size());
}

TEST(PlanTest, IsRefusedForAModelOfAnotherShape) {
  const absl::StatusOr<PrunePlan> plan =
      ParsePlan(absl::StrCat(R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "paper"}], "model": )",
                             ModelShapeJson(Qwen05b()), "}"),
                Llama8b());
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(plan.status().message()), HasSubstr("slimfill-calibrate"));
}

TEST(PlanTest, GivesAnUnknownModelAnUncalibratedPlanFromHalfDepthOn) {
  ModelConfig config = Qwen05b();
  config.hidden = 1024;
  const PrunePlan plan = BuiltinPlan(config);
  EXPECT_EQ(plan.name, "uncalibrated");
  ASSERT_EQ(plan.stages.size(), 3);
  EXPECT_EQ(plan.stages[0].prune_layer, 11);
  EXPECT_EQ(plan.stages[1].prune_layer, 17);
  EXPECT_EQ(plan.stages[2].prune_layer, 22);
  EXPECT_EQ(plan.stages[0].score, ScoreKind::kAttention);
}

TEST(PlanTest, BuiltinPlansAreValidForEveryDepth) {
  for (int layers = 1; layers <= 100; ++layers) {
    ModelConfig config = Qwen05b();
    config.hidden = 512;
    config.layers = layers;
    const PrunePlan plan = BuiltinPlan(config);
    if (plan.stages.empty()) continue;
    EXPECT_TRUE(CheckPlan(plan, config).ok()) << layers;
  }
}

TEST(PlanTest, TakesMoreLocalBlocksForLongPrompts) {
  const PrunePlan plan = BuiltinPlan(Qwen05b());
  EXPECT_EQ(plan.LocalBlocksFor(4096), 4);
  EXPECT_EQ(plan.LocalBlocksFor(4097), 8);
}

void ExpectSameWhenReadAgain(const PrunePlan& plan) {
  const absl::StatusOr<PrunePlan> again = ParsePlan(PlanToJson(plan), Qwen05b());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(PlanToJson(*again), PlanToJson(plan));
}

TEST(PlanTest, JsonRoundTripKeepsEverything) { ExpectSameWhenReadAgain(BuiltinPlan(Qwen05b())); }

TEST(PlanTest, KeepsMoreWhereManyBlocksCompete) {
  const absl::StatusOr<PrunePlan> plan = ParsePlan(R"({"stages": [{"prune_layer": 3, "score": "paper",
      "keep_ratio": 0.125, "keep_score": 0.25, "max_ratio": 0.5}]})",
                                                   Qwen05b());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->stages[0].keep_score, 0.25);
  EXPECT_EQ(plan->stages[0].max_ratio, 0.5);
  ExpectSameWhenReadAgain(*plan);
}

TEST(PlanTest, KeepsAShareByThePromptsLength) {
  const absl::StatusOr<PrunePlan> plan = ParsePlan(R"({"stages": [{"prune_layer": 3, "score": "paper", "keep_ratio":
      [{"up_to_tokens": 5000, "ratio": 0.25}, {"up_to_tokens": 0, "ratio": 0.5}]}]})",
                                                   Qwen05b());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->stages[0].RatioFor(5000), 0.25);
  EXPECT_EQ(plan->stages[0].RatioFor(5001), 0.5);
  ExpectSameWhenReadAgain(*plan);
}

TEST(PlanTest, KeepsAtMostAShareByThePromptsLength) {
  const absl::StatusOr<PrunePlan> plan =
      ParsePlan(R"({"stages": [{"prune_layer": 3, "score": "paper", "keep_ratio": 0.1,
      "keep_score": 0.2, "max_ratio": [{"up_to_tokens": 5000, "ratio": 0.5}, {"up_to_tokens": 0, "ratio": 0.25}]}]})",
                Qwen05b());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->stages[0].MaxRatioFor(5000), 0.5);
  EXPECT_EQ(plan->stages[0].MaxRatioFor(5001), 0.25);
  ExpectSameWhenReadAgain(*plan);
}

TEST(PlanTest, KeepsAShareOfTheMass) {
  const absl::StatusOr<PrunePlan> plan = ParsePlan(
      R"({"stages": [{"prune_layer": 3, "score": "mean_attention", "keep_mass": 0.99}], "attention_window": 128})",
      Qwen05b());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->stages[0].keep_mass, 0.99);
  EXPECT_TRUE(plan->Uses(ScoreKind::kMeanAttention));
  EXPECT_FALSE(plan->Uses(ScoreKind::kHeads));
  ExpectSameWhenReadAgain(*plan);
}

TEST(PlanTest, SaysWhetherAQuestionBeforeItsDocumentMayPrune) {
  const auto parsed = [](const std::string& more) {
    return ParsePlan(R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "paper"}])" + more + "}", Qwen05b());
  };
  EXPECT_TRUE(parsed("")->prune_question_first);
  const absl::StatusOr<PrunePlan> plan = parsed(R"(, "prune_question_first": false)");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_FALSE(plan->prune_question_first);
  ExpectSameWhenReadAgain(*plan);
  EXPECT_FALSE(parsed(R"(, "prune_question_first": 1)").ok());
  EXPECT_TRUE(BuiltinPlan(Qwen05b()).prune_question_first);
  EXPECT_FALSE(BuiltinPlan(Qwen05b(), PlanVariant::kSafe).prune_question_first);
}

TEST(PlanTest, LinksAreReadAndWritten) {
  const absl::StatusOr<PrunePlan> plan = ParsePlan(
      R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.25, "score": "heads", "heads": [[3, 5]]}],
          "links": {"heads": [[3, 5], [2, 1]], "weight": 0.5, "hops": 2, "seeds": 8}})",
      Qwen05b());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->links, (PlanLinks{.heads = {{3, 5}, {2, 1}}, .weight = 0.5, .hops = 2, .seeds = 8}));
  const absl::StatusOr<PrunePlan> again = ParsePlan(PlanToJson(*plan), Qwen05b());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->links, plan->links);
}

struct BadPlan {
  const char* json;
  const char* complaint;
};

class BadPlanTest : public ::testing::TestWithParam<BadPlan> {};

TEST_P(BadPlanTest, IsRefusedWithTheReason) {
  const absl::StatusOr<PrunePlan> plan = ParsePlan(GetParam().json, Qwen05b());
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(plan.status().message()), HasSubstr(GetParam().complaint));
}

INSTANTIATE_TEST_SUITE_P(
    Plans, BadPlanTest,
    ::testing::Values(
        BadPlan{"", "not a JSON object"}, BadPlan{"[1]", "not a JSON object"}, BadPlan{"{}", "no stages"},
        BadPlan{R"({"stages": 3})", "must be a list"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "guess"}]})", "\"score\" must be"},
        BadPlan{R"({"stages": [{"prune_layer": 23, "keep_ratio": 0.5, "score": "paper"}]})", "must be in [0, 22]"},
        BadPlan{R"({"stages": [{"prune_layer": -1, "keep_ratio": 0.5, "score": "paper"}]})", "out of range"},
        BadPlan{R"({"stages": [{"prune_layer": 3.5, "keep_ratio": 0.5, "score": "paper"}]})", "whole number"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 1.5, "score": "paper"}]})", "(0, 1]"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": -0.5, "score": "paper"}]})", "(0, 1]"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "score": "paper"}]})", "exactly one of"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "keep_tokens": 64, "score": "paper"}]})",
                "exactly one of"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_mass": 1.5, "score": "paper"}]})", "keep_mass is 1.5"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_mass": 0.5, "keep_tokens": 64, "score": "paper"}]})",
                "exactly one of"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": [], "score": "paper"}]})", "{up_to_tokens, ratio}"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": [0.5], "score": "paper"}]})", "{up_to_tokens, ratio}"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": [{"up_to_tokens": 9, "ratio": 0.5}],
                                "score": "paper"}]})",
                "up_to_tokens must increase"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": [{"up_to_tokens": 9, "ratio": 0.5},
                                {"up_to_tokens": 9, "ratio": 0.5}, {"ratio": 0.5}], "score": "paper"}]})",
                "up_to_tokens must increase"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": [{"ratio": 2}], "score": "paper"}]})", "(0, 1]"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.2, "keep_score": 0.1, "score": "paper"}]})",
                "goes together"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.2, "keep_score": 0.1, "max_ratio": 1.5,
                                "score": "paper"}]})",
                "max_ratio is 1.5"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "heads"}]})", "heads go with"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "heads", "heads": [[4, 0]]}]})",
                "head (4,0)"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "heads", "heads": [[3, 14]]}]})",
                "14 heads"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "heads", "heads": [[3]]}]})", "pairs"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "previous"}]})", "none before it"},
        BadPlan{R"({"stages": [{"prune_layer": 9, "keep_ratio": 0.5, "score": "paper"},
                               {"prune_layer": 9, "keep_ratio": 0.5, "score": "paper"}]})",
                "increasing"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "paper"}], "min_peak": 2})", "min_peak"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "paper"}], "links": [[3, 5]]})",
                "\"links\" must be an object"},
        BadPlan{
            R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "paper"}], "links": {"heads": [[4, 0]]}})",
            "head (4,0)"},
        BadPlan{
            R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "paper"}], "links": {"heads": [[3, 14]]}})",
            "14 heads"},
        BadPlan{
            R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "paper"}], "links": {"heads": [[0,0],[0,1],[0,2],[0,3],[0,4],[0,5],[0,6],[0,7],[0,8]]}})",
            "at most 8"},
        BadPlan{
            R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "paper"}], "links": {"heads": [[3, 5]], "hops": 0}})",
            "links hops is 0"},
        BadPlan{
            R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "paper"}], "links": {"heads": [[3, 5]], "weight": 1.5}})",
            "links weight is 1.5"},
        BadPlan{
            R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "paper"}], "links": {"heads": [[3, 5]], "seeds": 0}})",
            "links seeds is 0"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "paper"}], "links": {"head": [[3, 5]]}})",
                "plan links: unknown key"},
        BadPlan{R"({"stages": [{"prune_layer": 3, "keep_ratio": 0.5, "score": "paper"}], "surprise": 2})",
                "unknown key \"surprise\""}));

}  // namespace
}  // namespace slimfill::engine
