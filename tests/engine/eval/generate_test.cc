// Every kind of task, on the real models' tokenizers.
#include "engine/eval/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "tests/engine/eval/cases_support.h"
#include "tests/engine/model/tokenizer_support.h"

namespace slimfill::eval {
namespace {

using ::slimfill::testing::GoldenTokenizer;
using ::testing::HasSubstr;

EvalCase Make(const std::string& kind, int64_t tokens, uint64_t seed, bool question_first = false,
              const std::string& tokenizer = "smollm") {
  auto made = MakeCase(HeldOut(), GoldenTokenizer(tokenizer), kind, tokens, seed, question_first);
  if (!made.ok()) throw std::runtime_error(made.status().ToString());
  return *std::move(made);
}

class KindTest : public ::testing::TestWithParam<std::tuple<std::string, int64_t>> {};

TEST_P(KindTest, IsSoundForManySeeds) {
  const auto& [kind, tokens] = GetParam();
  std::set<std::string> questions;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    const EvalCase eval_case = Make(kind, tokens, seed);
    EXPECT_EQ(eval_case.kind, kind);
    EXPECT_EQ(eval_case.seed, seed);
    ExpectSound(eval_case);
    if (HasFatalFailure()) return;
    questions.insert(eval_case.question);
  }
  if (!IsControl(kind)) {
    EXPECT_GE(questions.size(), 10u);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, KindTest,
                         ::testing::Combine(::testing::ValuesIn(TaskKinds()), ::testing::Values(1024, 8192)),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param));
                         });

TEST(GenerateTest, DependsOnItsArgumentsOnly) {
  for (const std::string& kind : TaskKinds()) {
    const EvalCase first = Make(kind, 2048, 5);
    const EvalCase again = Make(kind, 2048, 5);
    EXPECT_EQ(first.document, again.document);
    EXPECT_EQ(first.question, again.question);
    EXPECT_EQ(first.answer, again.answer);
    EXPECT_EQ(first.evidence, again.evidence);
    EXPECT_NE(first.document, Make(kind, 2048, 6).document);
  }
}

TEST(GenerateTest, QuestionFirstChangesItsWordsOnly) {
  for (const std::string& kind : TaskKinds()) {
    bool changed = false;
    for (uint64_t seed = 0; seed < 8; ++seed) {
      const EvalCase last = Make(kind, 1024, seed);
      const EvalCase first = Make(kind, 1024, seed, /*question_first=*/true);
      EXPECT_FALSE(last.question_first);
      EXPECT_TRUE(first.question_first);
      EXPECT_EQ(first.document, last.document);
      EXPECT_EQ(first.answer, last.answer);
      EXPECT_THAT(first.question, ::testing::Not(HasSubstr("above")));
      EXPECT_THAT(last.question, ::testing::Not(HasSubstr("below")));
      changed |= first.question != last.question;
    }
    EXPECT_TRUE(changed) << kind;
  }
}

TEST(GenerateTest, AsksTheSameOfAnotherTokenizer) {
  for (const char* kind : {"needle", "multikey", "multihop", "aggregate"}) {
    const EvalCase smol = Make(kind, 4096, 3);
    const EvalCase qwen = Make(kind, 4096, 3, false, "qwen2");
    EXPECT_EQ(smol.question, qwen.question);
    const auto tokens = GoldenTokenizer("qwen2").Encode(qwen.document, false);
    EXPECT_NEAR(static_cast<double>(tokens->size()), 4096, 82);
  }
}

TEST(GenerateTest, ContinuationIsWhatFollows) {
  const EvalCase eval_case = Make("continuation", 2048, 1);
  const auto tokens = GoldenTokenizer("smollm").Encode(eval_case.answer, false);
  EXPECT_GE(tokens->size(), 120u);
  EXPECT_LE(tokens->size(), 129u);
  const std::string tail = eval_case.document.substr(eval_case.document.size() - 60);
  bool found = false;
  for (const auto* texts : {&HeldOut().prose(), &HeldOut().code()}) {
    for (const SourceText& source : *texts) {
      const size_t at = source.text.find(tail);
      if (at == std::string::npos) continue;
      const size_t next = source.text.find_first_not_of(" \n", at + tail.size());
      found |= source.text.compare(next, eval_case.answer.size(), eval_case.answer) == 0;
    }
  }
  EXPECT_TRUE(found);
}

TEST(GenerateTest, HoldsItsLengthAt32k) {
  for (const std::string& kind : TaskKinds()) ExpectSound(Make(kind, 32768, 2));
}

TEST(GenerateTest, RefusesWhatItCannotMake) {
  const auto& tokenizer = GoldenTokenizer("smollm");
  const auto unknown = MakeCase(HeldOut(), tokenizer, "riddle", 1024, 1, false);
  EXPECT_TRUE(absl::IsInvalidArgument(unknown.status()));
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("multihop"));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeCase(HeldOut(), tokenizer, "needle", 100, 1, false).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeCase(HeldOut(), tokenizer, "needle", 50'000'000, 1, false).status()));
}

}  // namespace
}  // namespace slimfill::eval
