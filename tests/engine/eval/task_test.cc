#include "engine/eval/task.h"

#include <gtest/gtest.h>

namespace slimfill::eval {
namespace {

EvalCase Accepting(std::vector<std::string> accept, bool all = false) {
  EvalCase eval_case;
  eval_case.accept = std::move(accept);
  eval_case.all_required = all;
  return eval_case;
}

TEST(NormaliseTest, DropsCaseSpaceMarksAndThousandsCommas) {
  EXPECT_EQ(NormaliseText("  The **answer**\n\tis  `12,345`. "), "the answer is 12345.");
  EXPECT_EQ(NormaliseText("1,234,567 and 12,34 and 1234,567"), "1234567 and 12,34 and 1234,567");
  EXPECT_EQ(NormaliseText("853719, 898255,606459"), "853719, 898255,606459");
}

TEST(NormaliseTest, KeepsUnderscoresInsideNames) {
  EXPECT_EQ(NormaliseText("_Note_: max_size and max\\_size"), "note: max_size and max_size");
}

TEST(IsRightTest, AcceptsTheAnswerInASentence) {
  const EvalCase eval_case = Accepting({"48213"});
  for (const char* output :
       {"48213", "48213.", "It is 48,213!", "**48213**", "(48213)", "code=48213,", "The code: 48213\n"}) {
    EXPECT_TRUE(IsRight(eval_case, output)) << output;
  }
}

TEST(IsRightTest, RejectsNearMisses) {
  const EvalCase eval_case = Accepting({"48213"});
  for (const char* output :
       {"", "4821", "482134", "148213", "48213.5", "7.48213", "-48213", "48 213", "x48213", "1,048,213"}) {
    EXPECT_FALSE(IsRight(eval_case, output)) << output;
  }
}

TEST(IsRightTest, AcceptsAnyOfSeveralSpellings) {
  const EvalCase eval_case = Accepting({"4 March 1987", "March 4, 1987", "1987-03-04"});
  EXPECT_TRUE(IsRight(eval_case, "on march 4, 1987"));
  EXPECT_TRUE(IsRight(eval_case, "1987-03-04"));
  EXPECT_FALSE(IsRight(eval_case, "14 March 1987"));
  EXPECT_FALSE(IsRight(eval_case, "March 4, 1988"));
}

TEST(IsRightTest, WantsAllWhereAllAreRequired) {
  const EvalCase eval_case = Accepting({"lynx-7792", "otter-1081"}, /*all=*/true);
  EXPECT_TRUE(IsRight(eval_case, "otter-1081 and Lynx-7792"));
  EXPECT_FALSE(IsRight(eval_case, "otter-1081"));
}

TEST(IsRightTest, IsFalseWhereNothingIsAccepted) { EXPECT_FALSE(IsRight(Accepting({}), "anything")); }

TEST(IsRightTest, FindsWordsThatEndInPunctuation) {
  EXPECT_TRUE(IsRight(Accepting({"Yoyodyne, Inc."}), "yoyodyne, inc. did"));
  EXPECT_FALSE(IsRight(Accepting({"ROM"}), "from"));
}

}  // namespace
}  // namespace slimfill::eval
