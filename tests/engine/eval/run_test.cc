// What a run reuses changes its time only: on a real model, since cases are asked as chats.
#include "engine/eval/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <utility>

#include "engine/eval/engine_pool.h"
#include "tests/engine/eval/cases_support.h"
#include "tests/support/golden.h"

namespace slimfill::eval {
namespace {

using ::testing::ElementsAre;

constexpr RunOptions kCold = {.max_tokens = 8, .reuse = false};
constexpr RunOptions kReuse = {.max_tokens = 8, .reuse = true};

template <typename T>
T ValueOrThrow(absl::StatusOr<T> value) {
  if (!value.ok()) throw std::runtime_error(value.status().ToString());
  return *std::move(value);
}

class EvalRunTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    pool_ =
        ValueOrThrow(EnginePool::Create({.model_path = slimfill::testing::ModelPath(slimfill::testing::kSmolModelFile),
                                         .by_depth = true}))
            .release();
    const DocumentSpec document = {1024, {{"needle", 1}, {"multihop", 1}, {"variables", 1}}};
    cases_ = new auto(ValueOrThrow(MakeCases(HeldOut(), pool_->main().tokenizer(), document, false)));
  }
  static void TearDownTestSuite() {
    delete cases_;
    delete pool_;
  }

  static Arm ArmOf(const std::string& name) { return ValueOrThrow(MakeArm(name, pool_->main().info())); }
  static RunResult MustRun(const Arm& arm, size_t question, const RunOptions& options, const DenseRun& dense = {}) {
    return ValueOrThrow(eval::Run(*ValueOrThrow(pool_->For(arm)), (*cases_)[question], arm, options, dense));
  }

  static void ExpectSame(const RunResult& a, const RunResult& b) {
    EXPECT_EQ(a.output, b.output);
    EXPECT_EQ(a.nll, b.nll);
    EXPECT_EQ(a.kept, b.kept);
    EXPECT_EQ(a.recall, b.recall);
    EXPECT_EQ(a.fallbacks, b.fallbacks);
    EXPECT_EQ(a.flops_ratio, b.flops_ratio);
    EXPECT_EQ(a.decode_steps, b.decode_steps);
  }

  static EnginePool* pool_;
  static std::vector<EvalCase>* cases_;
};

EnginePool* EvalRunTest::pool_ = nullptr;
std::vector<EvalCase>* EvalRunTest::cases_ = nullptr;

TEST_F(EvalRunTest, AQuestionAboutAKnownDocumentIsAnsweredAsIfItWereNew) {
  for (const char* name : {"dense", "unsafe", "attention"}) {
    SCOPED_TRACE(name);
    const Arm arm = ArmOf(name);
    MustRun(arm, 0, kReuse);
    for (const size_t question : {1, 2}) {
      const RunResult known = MustRun(arm, question, kReuse);
      const RunResult cold = MustRun(arm, question, kCold);
      EXPECT_GE(known.cached_tokens, 896);  // all but the question's blocks
      EXPECT_EQ(cold.cached_tokens, 0);
      ExpectSame(known, cold);
    }
  }
}

TEST_F(EvalRunTest, WhatFallsBackToDenseNeedNotBeRunToItsEnd) {
  const Arm dense = ArmOf("dense");
  const RunResult dense_run = MustRun(dense, 0, kReuse);
  EXPECT_GT(dense_run.ttft_seconds, 0);
  Arm flat = ArmOf("fast");
  auto plan = std::make_shared<engine::PrunePlan>(*flat.plan);
  plan->max_entropy = 0;
  flat.plan = plan;
  const RunResult whole = MustRun(flat, 0, kCold);
  EXPECT_THAT(whole.fallbacks, ElementsAre("entropy"));
  const RunResult taken = MustRun(flat, 0, kReuse, {"dense", &dense_run});
  EXPECT_EQ(taken.same_as, "dense");
  EXPECT_EQ(taken.ttft_seconds, 0);
  EXPECT_EQ(taken.nll, whole.nll);
  EXPECT_EQ(taken.output, whole.output);
  EXPECT_EQ(taken.recall, whole.recall);
  EXPECT_EQ(taken.fallbacks, whole.fallbacks);
  EXPECT_NEAR(taken.flops_ratio, whole.flops_ratio, 1e-9);
  EXPECT_EQ(MustRun(ArmOf("unsafe"), 0, kReuse, {"dense", &dense_run}).same_as, "");
}

}  // namespace
}  // namespace slimfill::eval
