#include "engine/eval/summary.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::eval {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

CaseResult Case(const std::string& kind, bool dense_right, double dense_nll, bool pruned_right, double pruned_nll) {
  CaseResult result{.kind = kind, .target_tokens = 4096, .judged = true};
  result.by_arm["dense"] = {.right = dense_right, .nll = dense_nll, .answer_tokens = 3};
  result.by_arm["auto"] = {.right = pruned_right, .nll = pruned_nll, .answer_tokens = 3, .flops_ratio = 4};
  return result;
}

TEST(SummaryTest, BootstrapIntervalHoldsTheMeanAndShrinksToAConstant) {
  const Estimate same = BootstrapMean({.5, .5, .5});
  EXPECT_EQ(same.low, .5);
  EXPECT_EQ(same.high, .5);
  const Estimate spread = BootstrapMean({0, 1, 0, 1, 0, 1, 0, 1});
  EXPECT_EQ(spread.mean, .5);
  EXPECT_LT(spread.low, .4);
  EXPECT_GT(spread.high, .6);
  EXPECT_EQ(BootstrapMean({}).mean, 0);
}

TEST(SummaryTest, ComparesPairedCasesOnly) {
  CaseResult unfinished = Case("needle", false, 9, false, 9);
  unfinished.by_arm.erase("auto");
  const std::string table = SummaryTable(
      {Case("needle", true, 1, true, .5), Case("needle", false, 2, true, 1.5), unfinished}, {"dense", "auto"});
  EXPECT_THAT(table, HasSubstr("2 cases"));
  EXPECT_THAT(table, HasSubstr("| dense | 50.0 % | +0.0"));
  EXPECT_THAT(table, HasSubstr("| auto | 100.0 % | +50.0"));
  EXPECT_THAT(table, HasSubstr("-0.500 [-0.500, -0.500] | 4.00x"));
  EXPECT_THAT(table, HasSubstr("| needle | 4096 | 2 | 50 % (+0.000) | 100 % (-0.500) |"));
}

TEST(SummaryTest, CasesWithoutAcceptedAnswersCountByLikelihoodOnly) {
  CaseResult continuation = Case("continuation", false, 2, false, 2.25);
  continuation.judged = false;
  const std::string table = SummaryTable({continuation, Case("needle", true, 1, true, 1)}, {"dense", "auto"});
  EXPECT_THAT(table, HasSubstr("| continuation | 4096 | 1 | - (+0.000) | - (+0.250) |"));
  EXPECT_THAT(table, HasSubstr("| auto | 100.0 % |"));
  EXPECT_THAT(table, Not(HasSubstr("50.0 %")));
}

}  // namespace
}  // namespace slimfill::eval
