#include "cli/block_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slimfill::cli {
namespace {

using ::testing::ElementsAre;

TEST(CutText, GivesThePiecesBetweenTheBorders) {
  EXPECT_THAT(CutText({"one", " two", " three", "!"}, {0, 1, 3}), ElementsAre("one", " two three", "!"));
  EXPECT_THAT(CutText({"one"}, {0}), ElementsAre("one"));
}

TEST(CutText, CharacterAcrossABorderGoesToThePieceWhereItBegins) {
  EXPECT_THAT(CutText({"caf\xc3", "\xa9 au", " lait"}, {0, 1, 2}), ElementsAre("café", " au", " lait"));
  EXPECT_THAT(CutText({"a", "\xf0\x9f", "\x98", "\x80", "b"}, {0, 1, 2, 3, 4}), ElementsAre("a", "😀", "", "", "b"));
  EXPECT_THAT(CutText({"\xf0\x9f", "\x98\x80"}, {0, 1}), ElementsAre("😀", ""));
}

TEST(CutText, BytesThatAreNoCharacterAreReplaced) {
  EXPECT_THAT(CutText({"a\xff", "b"}, {0, 1}), ElementsAre("a\uFFFD", "b"));
  EXPECT_THAT(CutText({"a\xc3", "b\xc3"}, {0, 1}), ElementsAre("a\uFFFD", "b\uFFFD"));
}

TEST(CutText, TokensWithoutBytesMoveNoBorder) {
  EXPECT_THAT(CutText({"", "a", "", "b"}, {0, 2, 3}), ElementsAre("a", "", "b"));
  EXPECT_THAT(CutText({"a", "", ""}, {0, 1, 2}), ElementsAre("a", "", ""));
}

TEST(CutText, NothingGivesNothing) {
  EXPECT_THAT(CutText({}, {}), ElementsAre());
  EXPECT_THAT(CutText({}, {0}), ElementsAre(""));
}

}  // namespace
}  // namespace slimfill::cli
