#include "engine/prune/head_scores.h"

#include "engine/ops/backend.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;

class ScoreByHeadsTest : public ::testing::Test {
 protected:
  // Masses of `blocks` blocks: {unit, mass}.
  static std::vector<float> Units(int blocks, const std::vector<std::pair<int, float>>& masses) {
    std::vector<float> units(blocks * kUnitsPerBlock, 0.0f);
    for (const auto& [unit, mass] : masses) units[unit] = mass;
    return units;
  }

  const PrunePlan plan_;
  const std::vector<int32_t> blocks_ = {0, 1, 2, 3};
  const std::vector<int32_t> forced_ = {0};
};

TEST_F(ScoreByHeadsTest, EachHeadCountsByItsOwnBestOutsideTheForcedBlocks) {
  const std::vector<float> one = Units(4, {{4, 0.9f}, {12, 0.2f}, {20, 0.1f}});  // blocks 0 (forced), 1, 2
  const std::vector<float> two = Units(4, {{20, 0.002f}, {28, 0.004f}});         // blocks 2, 3
  const HeadScores scores = ScoreByHeads(plan_, {{one, blocks_}, {two, blocks_}}, blocks_, forced_, {});
  EXPECT_THAT(scores.scores, ElementsAre(FloatEq(4.5f), FloatEq(1.0f), FloatEq(0.5f), FloatEq(1.0f)));
  EXPECT_FLOAT_EQ(scores.peak, 0.2f);
  EXPECT_FLOAT_EQ(scores.entropy, NormalizedEntropy({4.5f, 1.0f, 0.5f, 1.0f}, blocks_, forced_));
}

TEST_F(ScoreByHeadsTest, AHeadsLayerMayHoldMoreThanTheCandidates) {
  const std::vector<float> units = Units(4, {{12, 0.2f}, {28, 0.1f}});
  const std::vector<int32_t> candidates = {0, 3};
  const HeadScores scores = ScoreByHeads(plan_, {{units, blocks_}}, candidates, forced_, {});
  EXPECT_THAT(scores.scores, ElementsAre(0, 1));
  EXPECT_FLOAT_EQ(scores.peak, 0.2f);  // of all that the head sees
}

TEST_F(ScoreByHeadsTest, LinksAddBlocksThatTheQuestionDoesNotSee) {
  const std::vector<float> units = Units(4, {{28, 0.5f}});
  const std::vector<UnitLink> links = {{28, 12, 0.5f}};
  const HeadScores scores = ScoreByHeads(plan_, {{units, blocks_}}, blocks_, forced_, links);
  EXPECT_THAT(scores.scores, ElementsAre(0, FloatEq(0.5f * 0.8f), 0, 1));
  // What tells how sure the question is does not count them.
  const HeadScores alone = ScoreByHeads(plan_, {{units, blocks_}}, blocks_, forced_, {});
  EXPECT_EQ(scores.peak, alone.peak);
  EXPECT_EQ(scores.entropy, alone.entropy);
}

TEST_F(ScoreByHeadsTest, HeadsThatSeeNothingScoreNothing) {
  const std::vector<float> units = Units(4, {});
  const HeadScores scores = ScoreByHeads(plan_, {{units, blocks_}}, blocks_, forced_, {{28, 12, 0.5f}});
  EXPECT_THAT(scores.scores, ElementsAre(0, 0, 0, 0));
  EXPECT_EQ(scores.peak, 0);
  EXPECT_THAT(ScoreByHeads(plan_, {}, blocks_, forced_, {}).scores, ElementsAre(0, 0, 0, 0));
}

}  // namespace
}  // namespace slimfill::engine
