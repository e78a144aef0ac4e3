#include "engine/prune/policy.h"

#include <cmath>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;

PrunePlan PlanWith(int sinks, int locals, int budgeted_locals) {
  PrunePlan plan;
  plan.sink_blocks = sinks;
  plan.local_blocks = {{0, locals}};
  plan.budgeted_local_blocks = budgeted_locals;
  plan.min_blocks = 4;
  return plan;
}

PlanStage KeepRatio(double ratio) {
  PlanStage stage;
  stage.keep_ratio = ratio;
  return stage;
}

// Units of `blocks` blocks, all zero but those named.
std::vector<float> Units(size_t blocks, std::vector<std::pair<int, float>> set) {
  std::vector<float> units(blocks * 8, 0.0f);
  for (const auto& [unit, value] : set) units[unit] = value;
  return units;
}

TEST(PolicyTest, ForcesSinkLocalAndQuestionBlocks) {
  // 10 blocks, the last of them partial; the question covers tokens 200..330, blocks 3 to 5.
  const QuestionSegment question{{200, 330}, false};
  EXPECT_THAT(ForcedBlocks(PlanWith(1, 2, 2), 9 * 64 + 1, question), ElementsAre(0, 3, 4, 5, 8, 9));
}

TEST(PolicyTest, ForcesEachBlockOfAShortPromptOnce) {
  EXPECT_THAT(ForcedBlocks(PlanWith(1, 8, 2), 100, {{50, 100}, false}), ElementsAre(0, 1));
}

TEST(PolicyTest, AddsForcedBlocksBeyondTheBudgetedOnesOnTop) {
  // 100 blocks at a quarter: 25, of which sink and 2 local are part; 6 more local and 3 question blocks are not.
  const PrunePlan plan = PlanWith(1, 8, 2);
  const std::vector<int32_t> forced = ForcedBlocks(plan, 6400, {{640, 832}, true});
  EXPECT_EQ(forced.size(), 1 + 8 + 3);
  EXPECT_EQ(BlocksToKeep(plan, KeepRatio(0.25), 0, 6400, forced), 25 + 6 + 3);
  EXPECT_EQ(BlocksToKeep(plan, KeepRatio(0.25), 0.5, 6400, forced), 50 + 6 + 3);
}

TEST(PolicyTest, TakesBudgetsInTokens) {
  PlanStage stage;
  stage.keep_tokens = 2048;
  const PrunePlan plan = PlanWith(1, 2, 2);
  EXPECT_EQ(BlocksToKeep(plan, stage, 0, 32768, std::vector<int32_t>{0, 510, 511}), 32);
}

TEST(PolicyTest, NeverKeepsFewerThanTheMinimumNorMoreThanThereAre) {
  const PrunePlan plan = PlanWith(0, 1, 2);
  EXPECT_EQ(BlocksToKeep(plan, KeepRatio(0.01), 0, 6400, std::vector<int32_t>{99}), 4);
  EXPECT_EQ(BlocksToKeep(plan, KeepRatio(0.01), 0, 128, std::vector<int32_t>{1}), 2);
}

TEST(PolicyTest, KeepsEveryBlockNearTheBestScoreWithinItsLimits) {
  // 40 blocks, 3 forced: 4 at least, 12 at most.
  PlanStage stage = KeepRatio(0.1);
  stage.keep_score = 0.5;
  stage.max_ratio = 0.3;
  const PrunePlan plan = PlanWith(1, 2, 2);
  const std::vector<int32_t> forced = {0, 38, 39};
  std::vector<int32_t> candidates(40);
  std::iota(candidates.begin(), candidates.end(), 0);
  const auto keep = [&](int near_best) {
    std::vector<float> scores(40, 0.49f);
    scores[0] = 3;  // forced blocks count once, whatever they score
    for (int i = 0; i < near_best; ++i) scores[5 + i] = 0.5f;
    return BlocksToKeepByScore(plan, stage, 4, 40 * 64, candidates, scores, forced);
  };
  EXPECT_EQ(keep(0), 4);
  EXPECT_EQ(keep(1), 4);
  EXPECT_EQ(keep(5), 8);
  EXPECT_EQ(keep(30), 12);
  stage.keep_score = 0;
  EXPECT_EQ(keep(30), 4);
}

TEST(PolicyTest, KeepsTheFewestBlocksWithAShareOfTheMass) {
  const std::vector<int32_t> blocks = {0, 1, 2, 3, 4};
  const std::vector<float> scores = {4, 1, 2, 0.5, 0.5};  // of 8
  EXPECT_EQ(BlocksForMass(blocks, scores, {}, 0.5), 1);
  EXPECT_EQ(BlocksForMass(blocks, scores, {}, 0.51), 2);
  EXPECT_EQ(BlocksForMass(blocks, scores, {}, 0.75), 2);
  EXPECT_EQ(BlocksForMass(blocks, scores, {}, 1), 5);
  // Block 0 is in the nucleus, block 4 comes on top.
  const std::vector<int32_t> forced = {0, 4};
  EXPECT_EQ(BlocksForMass(blocks, scores, forced, 0.75), 3);
  EXPECT_THAT(SelectBlocks(blocks, scores, forced, 3), ElementsAre(0, 2, 4));
  EXPECT_EQ(BlocksForMass(blocks, std::vector<float>(5, 0.0f), forced, 0.99), 2);
  PlanStage stage;
  stage.keep_mass = 0.99;
  EXPECT_EQ(BlocksToKeep(PlanWith(1, 2, 2), stage, 0, 6400, forced), 100) << "not known before the scores";
}

TEST(PolicyTest, DilatesAcrossBlockBorders) {
  // Block 0's last unit counts for block 1, block 2's first unit too; block 2's second does not.
  const std::vector<int32_t> blocks = {0, 1, 2};
  EXPECT_THAT(DilatedBlockScores(Units(3, {{7, 0.5f}}), blocks, 2, 1), ElementsAre(0.5f, 0.5f, 0.0f));
  EXPECT_THAT(DilatedBlockScores(Units(3, {{6, 0.5f}}), blocks, 2, 1), ElementsAre(0.5f, 0.5f, 0.0f));
  EXPECT_THAT(DilatedBlockScores(Units(3, {{5, 0.5f}}), blocks, 2, 1), ElementsAre(0.5f, 0.0f, 0.0f));
  EXPECT_THAT(DilatedBlockScores(Units(3, {{16, 0.5f}}), blocks, 2, 1), ElementsAre(0.0f, 0.5f, 0.5f));
  EXPECT_THAT(DilatedBlockScores(Units(3, {{17, 0.5f}}), blocks, 2, 1), ElementsAre(0.0f, 0.0f, 0.5f));
}

TEST(PolicyTest, DoesNotDilateAcrossPrunedBlocks) {
  EXPECT_THAT(DilatedBlockScores(Units(2, {{7, 0.5f}, {8, 0.25f}}), std::vector<int32_t>{3, 5}, 2, 1),
              ElementsAre(0.5f, 0.25f));
}

// Ten blocks, the first and the last two forced: units 8 to 63 take part.
class SpreadTest : public ::testing::Test {
 protected:
  std::vector<float> Spread(const std::vector<float>& scores, const std::vector<UnitLink>& unit_links) const {
    return SpreadScores(scores, blocks_, {0, 8, 9}, unit_links, links_);
  }

  std::vector<int32_t> blocks_ = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  PlanLinks links_ = {.heads = {{0, 0}}, .weight = 0.5, .hops = 1, .seeds = 16};
};

TEST_F(SpreadTest, ScoresFollowLinksBothWays) {
  const std::vector<float> scores = Units(10, {{20, 1.0f}, {40, 0.1f}});
  // 30 looks back to the best unit, which looks back to 10; half of the attention in each case, times the weight.
  EXPECT_EQ(Spread(scores, {{30, 20, 0.5f}, {20, 10, 0.4f}}),
            Units(10, {{10, 0.2f}, {20, 1.0f}, {30, 0.25f}, {40, 0.1f}}));
}

TEST_F(SpreadTest, AUnitKeepsTheBestOfWhatComes) {
  const std::vector<float> scores = Units(10, {{20, 1.0f}, {30, 0.3f}});
  EXPECT_EQ(Spread(scores, {{30, 20, 0.5f}, {40, 20, 0.2f}, {40, 20, 0.6f}, {40, 30, 1.0f}}),
            Units(10, {{20, 1.0f}, {30, 0.3f}, {40, 0.3f}}));
}

TEST_F(SpreadTest, AHopGoesOneLinkFurther) {
  const std::vector<UnitLink> chain = {{30, 20, 1.0f}, {40, 30, 1.0f}, {50, 40, 1.0f}};
  const std::vector<float> scores = Units(10, {{20, 1.0f}});
  EXPECT_EQ(Spread(scores, chain), Units(10, {{20, 1.0f}, {30, 0.5f}}));
  links_.hops = 2;
  EXPECT_EQ(Spread(scores, chain), Units(10, {{20, 1.0f}, {30, 0.5f}, {40, 0.25f}}));
  links_.hops = 3;
  EXPECT_EQ(Spread(scores, chain), Units(10, {{20, 1.0f}, {30, 0.5f}, {40, 0.25f}, {50, 0.125f}}));
}

TEST_F(SpreadTest, OnlyTheBestUnitsLinksAreFollowed) {
  links_.seeds = 2;
  // Of the three, 22 is the later one of equals; the units without a score are no seeds.
  const std::vector<float> scores = Units(10, {{20, 1.0f}, {21, 0.5f}, {22, 0.5f}});
  EXPECT_EQ(Spread(scores, {{30, 21, 1.0f}, {31, 22, 1.0f}}),
            Units(10, {{20, 1.0f}, {21, 0.5f}, {22, 0.5f}, {30, 0.25f}}));
  EXPECT_EQ(Spread(Units(10, {}), {{30, 21, 1.0f}}), Units(10, {}));
}

TEST_F(SpreadTest, ForcedAndPrunedBlocksTakeNoPart) {
  const std::vector<float> scores = Units(10, {{3, 1.0f}, {20, 0.5f}, {70, 1.0f}});
  // Into and out of forced blocks, and beyond the prompt.
  EXPECT_EQ(Spread(scores, {{20, 3, 1.0f}, {30, 3, 1.0f}, {70, 20, 1.0f}, {70, 31, 1.0f}, {800, 20, 1.0f}}),
            Units(10, {{20, 0.5f}}));
  blocks_ = {0, 2, 5, 9};  // unit 20 is now 8 + 4, unit 44 is 16 + 4; 30 was pruned
  EXPECT_EQ(
      SpreadScores(Units(4, {{12, 0.5f}}), blocks_, {0, 9}, {{44, 20, 1.0f}, {30, 20, 1.0f}, {44, 30, 1.0f}}, links_),
      Units(4, {{12, 0.5f}, {20, 0.25f}}));
  EXPECT_THAT(SpreadScores({}, {}, {}, {{30, 20, 1.0f}}, links_), ElementsAre());
}

TEST(PolicyTest, NormalizesByTheBestBlockThatIsNotForced) {
  const std::vector<int32_t> blocks = {0, 1, 2, 3};
  std::vector<float> scores = {8, 2, 1, 6};
  NormalizeScores(blocks, std::vector<int32_t>{0, 3}, absl::MakeSpan(scores));
  EXPECT_THAT(scores, ElementsAre(4, 1, 0.5, 3));
}

TEST(PolicyTest, LeavesAllZeroScoresAlone) {
  std::vector<float> scores = {0, 0};
  NormalizeScores(std::vector<int32_t>{0, 1}, {}, absl::MakeSpan(scores));
  EXPECT_THAT(scores, ElementsAre(0, 0));
}

TEST(PolicyTest, CarriesScoresByBlockId) {
  EXPECT_THAT(
      CarryScores(std::vector<int32_t>{1, 4, 6}, std::vector<float>{.1f, .4f, .6f}, std::vector<int32_t>{4, 5, 6}),
      ElementsAre(.4f, 0, .6f));
}

TEST(PolicyTest, CarriesUnitScoresByBlockId) {
  const std::vector<float> earlier = Units(3, {{1, 0.1f}, {9, 0.2f}, {23, 0.3f}});
  EXPECT_EQ(CarryUnitScores({2, 5, 7}, earlier, {5, 6, 7}), Units(3, {{1, 0.2f}, {23, 0.3f}}));
}

TEST(PolicyTest, SelectsForcedThenBestThenLowerBlock) {
  const std::vector<int32_t> blocks = {2, 3, 5, 7, 9};
  const std::vector<float> scores = {.5f, .9f, .5f, 0, .5f};
  EXPECT_THAT(SelectBlocks(blocks, scores, std::vector<int32_t>{7}, 3), ElementsAre(2, 3, 7));
  EXPECT_THAT(SelectBlocks(blocks, scores, std::vector<int32_t>{7}, 4), ElementsAre(2, 3, 5, 7));
  EXPECT_THAT(SelectBlocks(blocks, scores, {}, 99), ElementsAre(2, 3, 5, 7, 9));
}

TEST(PolicyTest, ExchangesTheBestOfThoseLeftOutForTheWorstOfThoseHeld) {
  const std::vector<int32_t> known = {0, 1, 2, 3, 4, 5};
  const std::vector<float> scores = {9, .1f, 1, .2f, .8f, .5f};
  const std::vector<int32_t> forced = {0}, active = {0, 1, 3, 5};
  // 0 is forced; 2, 4 and 5 score best of the rest: 2 comes for 1, 4 for 3.
  BlockExchange exchange = ChooseExchange(known, scores, forced, active, /*overlap=*/1, /*margin=*/0);
  EXPECT_THAT(exchange.wanted, ElementsAre(2, 4));
  EXPECT_THAT(exchange.leaving, ElementsAre(1, 3));
  // .8 is not .7 better than .2.
  exchange = ChooseExchange(known, scores, forced, active, 1, .7);
  EXPECT_THAT(exchange.wanted, ElementsAre(2));
  EXPECT_THAT(exchange.leaving, ElementsAre(1));
}

TEST(PolicyTest, ExchangesNothingWhileMostOfTheActiveBlocksWouldStay) {
  const std::vector<int32_t> known = {0, 1, 2, 3, 4}, active = {0, 1, 2, 3};
  const std::vector<float> scores = {.9f, .8f, .7f, .1f, 1};
  EXPECT_THAT(ChooseExchange(known, scores, {}, active, .75, 0).wanted, ElementsAre());  // 3 of 4 stay
  EXPECT_THAT(ChooseExchange(known, scores, {}, active, .76, 0).wanted, ElementsAre(4));
  EXPECT_THAT(ChooseExchange(known, scores, {}, active, .76, 0).leaving, ElementsAre(3));
}

TEST(PolicyTest, BaselinesPreferTheLateTheGivenOrNone) {
  const std::vector<int32_t> blocks = {1, 4, 9};
  EXPECT_THAT(RecencyScores(blocks), ElementsAre(.2f, .5f, 1));
  EXPECT_THAT(GivenScores(blocks, std::vector<int32_t>{4, 7}), ElementsAre(.1f, 1, .5f));
  EXPECT_EQ(RandomScores(blocks, 1000), RandomScores(blocks, 1000));
  EXPECT_NE(RandomScores(blocks, 1000), RandomScores(blocks, 1001));
}

TEST(PolicyTest, PeakIgnoresForcedBlocks) {
  EXPECT_FLOAT_EQ(
      PeakMass(Units(3, {{0, .9f}, {12, .3f}, {20, .2f}}), std::vector<int32_t>{0, 1, 2}, std::vector<int32_t>{0}),
      .3f);
  EXPECT_FLOAT_EQ(PeakMass(Units(1, {{0, .9f}}), std::vector<int32_t>{0}, std::vector<int32_t>{0}), 0);
}

TEST(PolicyTest, EntropyIsOneForUniformAndZeroForCertain) {
  const std::vector<int32_t> blocks = {0, 1, 2, 3};
  EXPECT_NEAR(NormalizedEntropy(std::vector<float>{9, 1, 1, 1}, blocks, std::vector<int32_t>{0}), 1, 1e-6);
  EXPECT_NEAR(NormalizedEntropy(std::vector<float>{9, 0, 1, 0}, blocks, std::vector<int32_t>{0}), 0, 1e-6);
  // Two of three: log 2 / log 3.
  EXPECT_NEAR(NormalizedEntropy(std::vector<float>{9, 1, 1, 0}, blocks, std::vector<int32_t>{0}),
              std::log(2) / std::log(3), 1e-6);
}

}  // namespace
}  // namespace slimfill::engine
