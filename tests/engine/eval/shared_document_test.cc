// Several questions over one document.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

#include "engine/eval/generate.h"
#include "tests/engine/eval/cases_support.h"

namespace slimfill::eval {
namespace {

using ::slimfill::testing::GoldenTokenizer;
using ::testing::HasSubstr;

const std::vector<std::string> kProseKinds = {"needle",   "multikey",  "multivalue", "variables",
                                              "multihop", "aggregate", "realqa",     "summary_control"};

DocumentSpec Spec(const std::vector<std::string>& kinds, int64_t tokens, uint64_t seed) {
  DocumentSpec spec = {tokens, {}};
  for (const std::string& kind : kinds) spec.questions.push_back({kind, seed++});
  return spec;
}

std::vector<EvalCase> Make(const DocumentSpec& spec, bool question_first = false) {
  auto made = MakeCases(HeldOut(), GoldenTokenizer("smollm"), spec, question_first);
  if (!made.ok()) throw std::runtime_error(made.status().ToString());
  return *std::move(made);
}

// The text without what the case's answer needs.
std::string Rest(const EvalCase& eval_case) {
  std::string rest = eval_case.document;
  for (auto range = eval_case.evidence.rbegin(); range != eval_case.evidence.rend(); ++range) {
    rest.replace(range->first, range->second - range->first, "\n");
  }
  return NormaliseText(rest);
}

void ExpectShared(const DocumentSpec& spec) {
  const std::vector<EvalCase> cases = Make(spec);
  ASSERT_EQ(cases.size(), spec.questions.size());
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(spec.questions[i].kind);
    EXPECT_EQ(cases[i].kind, spec.questions[i].kind);
    EXPECT_EQ(cases[i].seed, spec.questions[i].seed);
    EXPECT_EQ(cases[i].document, cases[0].document);
    ExpectSound(cases[i]);
    if (cases[i].kind == "aggregate" || cases[i].kind == "realqa") continue;
    // What another question planted does not answer this one.
    const std::string rest = Rest(cases[i]);
    for (const std::string& accept : cases[i].accept) EXPECT_FALSE(ContainsWords(rest, NormaliseText(accept)));
  }
}

TEST(SharedDocumentTest, EveryQuestionIsClear) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    for (const int64_t tokens : {4096, 8192}) {
      SCOPED_TRACE(tokens * 100 + seed);
      ExpectShared(Spec(kProseKinds, tokens, seed));
      ExpectShared(Spec({"code", "code", "code", "code", "code"}, tokens, seed));
      ExpectShared(Spec({"keyvalue", "keyvalue", "keyvalue"}, tokens, seed));
      ExpectShared(Spec({"needle", "multihop", "needle", "multihop", "variables", "variables"}, tokens, seed));
    }
  }
}

TEST(SharedDocumentTest, TheOthersPassagesAreInIt) {
  const std::vector<EvalCase> cases = Make(Spec({"needle", "multivalue"}, 1024, 3));
  for (const auto& [begin, end] : cases[0].evidence) {
    const std::string passage = cases[0].document.substr(begin, end - begin);
    EXPECT_THAT(Rest(cases[1]), HasSubstr(NormaliseText(passage)));
  }
}

TEST(SharedDocumentTest, RowsOfATableAreAskedOnce) {
  std::set<std::string> answers;
  for (const EvalCase& eval_case : Make(Spec({"keyvalue", "keyvalue", "keyvalue", "keyvalue"}, 1024, 1))) {
    answers.insert(eval_case.answer);
  }
  EXPECT_EQ(answers.size(), 4u);
}

TEST(SharedDocumentTest, DependsOnItsArgumentsOnly) {
  for (const auto& kinds : {kProseKinds, std::vector<std::string>{"code", "code"}, {"keyvalue", "keyvalue"}}) {
    const DocumentSpec spec = Spec(kinds, 4096, 5);
    const std::vector<EvalCase> first = Make(spec), again = Make(spec), other = Make(Spec(kinds, 4096, 6));
    for (size_t i = 0; i < first.size(); ++i) {
      EXPECT_EQ(first[i].document, again[i].document);
      EXPECT_EQ(first[i].question, again[i].question);
      EXPECT_EQ(first[i].answer, again[i].answer);
      EXPECT_EQ(first[i].evidence, again[i].evidence);
    }
    EXPECT_NE(first[0].document, other[0].document);
  }
}

TEST(SharedDocumentTest, QuestionFirstChangesItsWordsOnly) {
  const DocumentSpec spec = Spec(kProseKinds, 4096, 2);
  const std::vector<EvalCase> last = Make(spec), first = Make(spec, /*question_first=*/true);
  for (size_t i = 0; i < last.size(); ++i) {
    EXPECT_EQ(first[i].document, last[i].document);
    EXPECT_EQ(first[i].answer, last[i].answer);
    EXPECT_TRUE(first[i].question_first);
    EXPECT_THAT(first[i].question, ::testing::Not(HasSubstr("above")));
  }
}

TEST(SharedDocumentTest, OneQuestionIsTheCaseAlone) {
  const EvalCase alone = Make({1024, {{"needle", 4}}})[0];
  const auto made = MakeCase(HeldOut(), GoldenTokenizer("smollm"), "needle", 1024, 4, false);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(alone.document, made->document);
  EXPECT_EQ(alone.question, made->question);
}

TEST(SharedDocumentTest, RefusesWhatCannotShare) {
  const auto refused = [](const std::vector<std::string>& kinds, int64_t tokens) {
    return MakeCases(HeldOut(), GoldenTokenizer("smollm"), Spec(kinds, tokens, 1), false).status();
  };
  EXPECT_TRUE(absl::IsInvalidArgument(refused({"needle", "code"}, 1024)));
  EXPECT_TRUE(absl::IsInvalidArgument(refused({"continuation", "continuation"}, 1024)));
  EXPECT_TRUE(absl::IsInvalidArgument(refused({"realqa", "realqa"}, 1024)));
  EXPECT_TRUE(absl::IsInvalidArgument(refused({"needle", "riddle"}, 1024)));
  const absl::Status no_room = refused(std::vector<std::string>(20, "multikey"), 512);
  EXPECT_TRUE(absl::IsInvalidArgument(no_room));
  EXPECT_THAT(std::string(no_room.message()), HasSubstr("no room"));
}

}  // namespace
}  // namespace slimfill::eval
