#include "engine/eval/summary.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::eval {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<Observed> Alone(const std::vector<double>& values) {
  std::vector<Observed> observed;
  for (const double value : values) observed.push_back({value, std::to_string(observed.size())});
  return observed;
}

CaseResult Case(const std::string& kind, bool dense_right, double dense_nll, bool pruned_right, double pruned_nll) {
  CaseResult result{.document_id = kind, .kind = kind, .target_tokens = 4096, .judged = true};
  result.by_arm["dense"] = {.right = dense_right, .nll = dense_nll, .answer_tokens = 3};
  result.by_arm["fast"] = {.right = pruned_right, .nll = pruned_nll, .answer_tokens = 3, .flops_ratio = 4};
  return result;
}

TEST(SummaryTest, BootstrapIntervalHoldsTheMeanAndShrinksToAConstant) {
  const Estimate same = BootstrapMean(Alone({.5, .5, .5}));
  EXPECT_EQ(same.low, .5);
  EXPECT_EQ(same.high, .5);
  const Estimate spread = BootstrapMean(Alone({0, 1, 0, 1, 0, 1, 0, 1}));
  EXPECT_EQ(spread.mean, .5);
  EXPECT_LT(spread.low, .4);
  EXPECT_GT(spread.high, .6);
  EXPECT_EQ(BootstrapMean({}).mean, 0);
}

TEST(SummaryTest, BootstrapDrawsDocumentsNotCases) {
  // Two documents: whatever is drawn is all 0, all 1, or half of each, however many cases they have.
  std::vector<Observed> values;
  for (int i = 0; i < 50; ++i) {
    values.push_back({0, "a"});
    values.push_back({1, "b"});
  }
  const Estimate clustered = BootstrapMean(values);
  EXPECT_EQ(clustered.mean, .5);
  EXPECT_TRUE(clustered.has_interval);
  EXPECT_EQ(clustered.low, 0);
  EXPECT_EQ(clustered.high, 1);
  // The mean is over cases: a document of three weighs three times one of one.
  EXPECT_EQ(BootstrapMean({{1, "a"}, {1, "a"}, {1, "a"}, {0, "b"}}).mean, .75);
  EXPECT_FALSE(BootstrapMean({{1, "a"}, {0, "a"}}).has_interval);
}

TEST(SummaryTest, ComparesPairedCasesOnly) {
  CaseResult unfinished = Case("needle", false, 9, false, 9);
  unfinished.by_arm.erase("fast");
  const std::string table = SummaryTable(
      {Case("needle", true, 1, true, .5), Case("needle", false, 2, true, 1.5), unfinished}, {"dense", "fast"});
  EXPECT_THAT(table, HasSubstr("2 cases over 1 documents"));
  EXPECT_THAT(table, HasSubstr("| dense | 50.0 % | +0.0"));
  EXPECT_THAT(table, HasSubstr("| fast | 100.0 % | +50.0"));
  EXPECT_THAT(table, HasSubstr("| +50.0 | -0.500 | 4.00x")) << "one document has no interval";
  EXPECT_THAT(table, HasSubstr("| needle | 4096 | 2 | 1 | 50 % (+0.000) | 100 % (-0.500) |"));
}

TEST(SummaryTest, CasesWithoutAcceptedAnswersCountByLikelihoodOnly) {
  CaseResult continuation = Case("continuation", false, 2, false, 2.25);
  continuation.judged = false;
  const std::string table = SummaryTable({continuation, Case("needle", true, 1, true, 1)}, {"dense", "fast"});
  EXPECT_THAT(table, HasSubstr("| continuation | 4096 | 1 | 1 | - (+0.000) | - (+0.250) |"));
  EXPECT_THAT(table, HasSubstr("| fast | 100.0 % |"));
  EXPECT_THAT(table, Not(HasSubstr("50.0 %")));
}

}  // namespace
}  // namespace slimfill::eval
