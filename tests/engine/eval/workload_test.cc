#include "engine/eval/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace slimfill::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::MatchesRegex;

// "1024: needle/1 code/1".
std::vector<std::string> Text(const std::vector<DocumentSpec>& documents) {
  std::vector<std::string> lines;
  for (const DocumentSpec& document : documents) {
    std::string line = absl::StrCat(document.tokens, ":");
    for (const Question& question : document.questions) absl::StrAppend(&line, " ", question.kind, "/", question.seed);
    lines.push_back(line);
  }
  return lines;
}

TEST(WorkloadTest, AloneKindsComeInTurn) {
  const auto documents = PlanDocuments({.lengths = {1024, 2048}, .cases = 2, .kinds = {"needle", "code"}, .seed = 7});
  EXPECT_THAT(Text(documents), ElementsAre("1024: needle/7", "1024: code/7", "1024: needle/8", "1024: code/8",
                                           "2048: needle/7", "2048: code/7", "2048: needle/8", "2048: code/8"));
}

TEST(WorkloadTest, QuestionsShareTheDocumentOfTheirGround) {
  const auto documents = PlanDocuments(
      {.lengths = {1024}, .cases = 3, .kinds = {"needle", "code", "realqa", "continuation", "multihop"}, .shared = 3});
  // A second question of realqa has to wait for the next document; no document has more than three.
  EXPECT_THAT(Text(documents),
              ElementsAre("1024: needle/1 realqa/1 multihop/1", "1024: code/1 code/2 code/3", "1024: continuation/1",
                          "1024: needle/2 realqa/2 multihop/2", "1024: continuation/2",
                          "1024: needle/3 realqa/3 multihop/3", "1024: continuation/3"));
}

TEST(WorkloadTest, OneLengthAfterTheOther) {
  const auto documents = PlanDocuments({.lengths = {1024, 2048}, .cases = 2, .kinds = {"needle"}, .shared = 8});
  EXPECT_THAT(Text(documents), ElementsAre("1024: needle/1 needle/2", "2048: needle/1 needle/2"));
}

TEST(WorkloadTest, NamesSayWhatIsAsked) {
  const DocumentSpec alone = {1024, {{"needle", 3}}};
  EXPECT_EQ(DocumentName(alone), "needle/1024/3");
  EXPECT_EQ(CaseName(alone, alone.questions[0]), "needle/1024/3");
  const DocumentSpec shared = {1024, {{"needle", 3}, {"multihop", 4}}};
  EXPECT_THAT(DocumentName(shared), MatchesRegex("shared/1024/3/[0-9a-f]+"));
  EXPECT_EQ(CaseName(shared, shared.questions[1]), absl::StrCat(DocumentName(shared), "/multihop/4"));
  // Other questions make another document.
  EXPECT_NE(DocumentName(shared), DocumentName({1024, {{"needle", 3}, {"multihop", 5}}}));
}

}  // namespace
}  // namespace slimfill::eval
