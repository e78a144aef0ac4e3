#include "engine/eval/results.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "absl/strings/str_cat.h"

namespace slimfill::eval {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const Provenance kMade = {.corpus = "00c0ffee", .model = "tiny", .model_sha256 = "aa", .max_tokens = 40};

// ctest runs each test in a process of its own, several at once: each has its own file.
class ResultsTest : public ::testing::Test {
 protected:
  ~ResultsTest() override { std::filesystem::remove(path_); }

  Results MustOpen(const std::optional<Provenance>& provenance = kMade) {
    absl::StatusOr<Results> results = Results::Open(path_, provenance);
    EXPECT_TRUE(results.ok()) << results.status();
    return *std::move(results);
  }
  std::string WhyNot(const Provenance& provenance) {
    const absl::Status status = Results::Open(path_, provenance).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  }
  std::string File() const {
    std::ifstream file(path_);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  const std::string path_ = absl::StrCat(::testing::TempDir(), "results_test.", ::getpid(), ".jsonl");
  const EvalCase case_ = {.kind = "needle", .target_tokens = 1024, .answer = "5", .accept = {"5"}};
  const Arm dense_ = {.name = "dense", .mode = engine::PruningMode::kOff};
  Arm pruned_ = {.name = "fast", .plan = std::make_shared<engine::PrunePlan>(engine::PrunePlan{.name = "p"})};
};

TEST_F(ResultsTest, ReadsWhatItWrote) {
  const RunResult run = {.prompt_tokens = 1030,
                         .output = "5",
                         .right = true,
                         .nll = .25,
                         .answer_tokens = 1,
                         .ttft_seconds = 2,
                         .cached_tokens = 64,
                         .same_as = "dense",
                         .flops_ratio = 3,
                         .kept = {512, 128},
                         .recall = {1, .5},
                         .fallbacks = {"entropy"},
                         .decode_steps = 4,
                         .swaps = 1,
                         .kv_ratio = 2};
  ASSERT_TRUE(MustOpen().Append("c1", "d", case_, pruned_, run).ok());
  ASSERT_TRUE(MustOpen().Append("c2", "d", case_, dense_, {}).ok());
  const Results results = MustOpen();
  ASSERT_EQ(results.cases().size(), 2u);
  EXPECT_EQ(results.cases()[0].case_id, "c1");
  EXPECT_EQ(results.cases()[0].document_id, "d");
  EXPECT_TRUE(results.cases()[0].judged);
  const RunResult* read = results.Find("c1", "fast");
  ASSERT_NE(read, nullptr);
  EXPECT_EQ(read->output, "5");
  EXPECT_EQ(read->same_as, "dense");
  EXPECT_EQ(read->cached_tokens, 64);
  EXPECT_EQ(read->recall, run.recall);
  EXPECT_EQ(read->fallbacks, run.fallbacks);
  EXPECT_EQ(read->kept, run.kept);
  EXPECT_EQ(results.Find("c1", "dense"), nullptr);
  EXPECT_EQ(results.Find("c3", "dense"), nullptr);
}

TEST_F(ResultsTest, RefusesAFileMadeFromSomethingElse) {
  ASSERT_TRUE(MustOpen().Append("c1", "d", case_, dense_, {}).ok());
  Provenance other = kMade;
  other.model_sha256 = "bb";
  EXPECT_THAT(WhyNot(other), AllOf(HasSubstr("line 1"), HasSubstr("model tiny"), HasSubstr("aa"), HasSubstr("--out")));
  other = kMade;
  other.corpus = "beef";
  EXPECT_THAT(WhyNot(other), AllOf(HasSubstr("00c0ffee"), HasSubstr("beef")));
  other = kMade;
  other.max_tokens = 8;
  EXPECT_THAT(WhyNot(other), HasSubstr("at most 40 tokens, not of 8"));
}

TEST_F(ResultsTest, ReadsAnyFileButNotOneOfTwoOrigins) {
  ASSERT_TRUE(MustOpen().Append("c1", "d", case_, dense_, {}).ok());
  const std::string first = File();
  EXPECT_EQ(MustOpen(std::nullopt).cases().size(), 1u);
  std::filesystem::remove(path_);
  Provenance other = kMade;
  other.model_sha256 = "bb";
  ASSERT_TRUE(MustOpen(other).Append("c1", "d", case_, dense_, {}).ok());
  std::ofstream(path_, std::ios::app) << first;
  EXPECT_THAT(std::string(Results::Open(path_, std::nullopt).status().message()), HasSubstr("line 2"));
}

TEST_F(ResultsTest, RefusesResultsOfOtherArithmetic) {
  ASSERT_TRUE(MustOpen().Append("c1", "d", case_, dense_, {}).ok());
  Provenance int8 = kMade;
  int8.linear = "int8 by 64";
  EXPECT_THAT(WhyNot(int8), AllOf(HasSubstr("of bf16"), HasSubstr("not of int8 by 64")));
}

TEST_F(ResultsTest, RefusesAnArmThatHasAnotherPlanNow) {
  Results results = MustOpen();
  EXPECT_TRUE(results.CheckPlan(pruned_).ok());  // not run yet
  ASSERT_TRUE(results.Append("c1", "d", case_, pruned_, {}).ok());
  EXPECT_TRUE(results.CheckPlan(pruned_).ok());
  EXPECT_TRUE(results.CheckPlan(dense_).ok());
  pruned_.plan = std::make_shared<engine::PrunePlan>(engine::PrunePlan{.name = "p", .min_blocks = 9});
  const absl::Status status = results.CheckPlan(pruned_);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("arm fast"));
}

TEST_F(ResultsTest, DropsALineThatWasCutOff) {
  ASSERT_TRUE(MustOpen().Append("c1", "d", case_, dense_, {}).ok());
  const std::string whole = File();
  std::ofstream(path_, std::ios::app) << whole.substr(0, 100);
  Results results = MustOpen();
  EXPECT_EQ(File(), whole);
  ASSERT_TRUE(results.Append("c2", "d", case_, dense_, {}).ok());
  EXPECT_EQ(MustOpen().cases().size(), 2u);
}

TEST_F(ResultsTest, RefusesOtherFiles) {
  std::ofstream(path_) << "{\"kind\": \"needle\"}\n";
  EXPECT_THAT(WhyNot(Provenance{}), AllOf(HasSubstr("line 1"), HasSubstr("not ours")));
  std::ofstream(path_) << "plain text\n";
  EXPECT_THAT(WhyNot(Provenance{}), HasSubstr("not ours"));
}

}  // namespace
}  // namespace slimfill::eval
