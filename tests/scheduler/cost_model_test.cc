#include "scheduler/cost_model.h"

#include <limits>
#include <random>

#include "gtest/gtest.h"

namespace slimfill::scheduler {
namespace {

using engine::PrefillWork;

// The chunk of a causal prefill that starts at `begin`.
PrefillWork ChunkAt(double begin, double tokens = 512, double layers = 8) {
  return {layers, tokens * layers, (tokens * begin + tokens * (tokens + 1) / 2) * layers};
}
// A whole dense prefill, of more layers than any chunk that the tests observe.
PrefillWork Dense(int chunks) {
  PrefillWork work;
  for (int i = 0; i < chunks; ++i) work += ChunkAt(512.0 * i, 512, 24);
  return work;
}
double Truth(const PrefillWork& work) {
  return 1e-4 * work.chunks + 2e-5 * work.token_layers + 2e-9 * work.pair_layers;
}
void ObserveTruth(CostModel& model, int chunks, double slowness = 1) {
  for (int i = 0; i < chunks; ++i) {
    const PrefillWork work = ChunkAt(512.0 * (i % 64), i % 5 == 0 ? 100 : 512, i % 3 == 0 ? 2 : 6);
    model.Observe(work, slowness * Truth(work));
  }
}

TEST(CostModelTest, SaysNothingBeforeEnoughChunks) {
  CostModel model;
  EXPECT_FALSE(model.PredictSeconds(ChunkAt(0)).has_value());
  EXPECT_FALSE(model.error().has_value());
  EXPECT_FALSE(model.trusted());
  ObserveTruth(model, CostModel::kMinChunks - 1);
  EXPECT_FALSE(model.PredictSeconds(ChunkAt(0)).has_value());
  ObserveTruth(model, 1);
  EXPECT_TRUE(model.PredictSeconds(ChunkAt(0)).has_value());
  EXPECT_FALSE(model.error().has_value());  // no prediction has been judged yet
}

TEST(CostModelTest, RecoversTheCostsAndExtrapolates) {
  CostModel model;
  ObserveTruth(model, 64);
  const PrefillWork dense = Dense(64);
  EXPECT_NEAR(*model.PredictSeconds(dense) / Truth(dense), 1, 0.01);
  EXPECT_LT(*model.error(), 0.01);
  EXPECT_TRUE(model.trusted());
}

TEST(CostModelTest, NoiseAveragesOutAndShowsInTheError) {
  CostModel model;
  std::mt19937 random(1);
  std::uniform_real_distribution<double> noise(0.95, 1.05);
  for (int i = 0; i < 400; ++i) {
    const PrefillWork work = ChunkAt(512.0 * (i % 64), 512, i % 3 == 0 ? 2 : 6);
    model.Observe(work, Truth(work) * noise(random));
  }
  const PrefillWork dense = Dense(64);
  EXPECT_NEAR(*model.PredictSeconds(dense) / Truth(dense), 1, 0.05);
  // The mean of |u| for u uniform in [-5 %, 5 %] is 2.5 %.
  EXPECT_NEAR(*model.error(), 0.025, 0.01);
}

TEST(CostModelTest, CoefficientsNeverGoNegative) {
  CostModel model;
  // Time falls as pairs grow: least squares without the bound would give attention a negative cost.
  for (int i = 0; i < 64; ++i) model.Observe(ChunkAt(512.0 * i), 0.2 - 0.001 * i);
  EXPECT_GE(*model.PredictSeconds({1, 0, 0}), 0);
  EXPECT_GE(*model.PredictSeconds({0, 1, 0}), 0);
  EXPECT_EQ(*model.PredictSeconds({0, 0, 1}), 0);
}

TEST(CostModelTest, TermsThatWereNeverSeenCostNothing) {
  CostModel model;
  for (int i = 1; i <= 32; ++i) model.Observe({0, 10.0 * i, 0}, 0.5 * i);
  EXPECT_NEAR(*model.PredictSeconds({0, 20, 0}), 1, 1e-5);
  EXPECT_EQ(*model.PredictSeconds({5, 0, 7}), 0);
}

TEST(CostModelTest, IdenticalChunksArePredictedExactly) {
  CostModel model;
  for (int i = 0; i < 32; ++i) model.Observe(ChunkAt(0), 0.25);
  EXPECT_NEAR(*model.PredictSeconds(ChunkAt(0)), 0.25, 1e-6);
}

TEST(CostModelTest, ForgetsAMachineThatWasSlower) {
  CostModel model;
  ObserveTruth(model, 300, 3.0);
  ObserveTruth(model, 1500, 1.0);
  EXPECT_NEAR(*model.PredictSeconds(ChunkAt(8192)) / Truth(ChunkAt(8192)), 1, 0.02);
  EXPECT_TRUE(model.trusted());
}

TEST(CostModelTest, IsNotTrustedRightAfterTheMachineChanges) {
  CostModel model;
  ObserveTruth(model, 300);
  ASSERT_TRUE(model.trusted());
  ObserveTruth(model, 20, 2.0);
  EXPECT_GT(*model.error(), CostModel::kTrustedError);
  EXPECT_FALSE(model.trusted());
}

TEST(CostModelTest, OneStalledChunkHardlyMattersToTheFit) {
  CostModel model;
  ObserveTruth(model, 100);
  model.Observe(ChunkAt(1024), 100 * Truth(ChunkAt(1024)));
  EXPECT_NEAR(*model.PredictSeconds(ChunkAt(1024)) / Truth(ChunkAt(1024)), 1, 0.02);
  EXPECT_TRUE(model.trusted());
}

TEST(CostModelTest, NonsenseTeachesNothing) {
  CostModel model;
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 100; ++i) {
    model.Observe(ChunkAt(0), 0);
    model.Observe(ChunkAt(0), -1);
    model.Observe(ChunkAt(0), kNan);
    model.Observe(ChunkAt(0), kInfinity);
    model.Observe({0, 0, 0}, 1);
    model.Observe({-1, 5, 5}, 1);
    model.Observe({1, kNan, 5}, 1);
  }
  EXPECT_FALSE(model.PredictSeconds(ChunkAt(0)).has_value());
}

}  // namespace
}  // namespace slimfill::scheduler
