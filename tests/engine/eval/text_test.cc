// Text from files: Python strings, POD, cleaning, pieces, and what can be asked about code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "engine/eval/code_facts.h"
#include "engine/eval/document.h"
#include "engine/eval/python_strings.h"
#include "engine/eval/rng.h"
#include "engine/eval/source_text.h"

namespace slimfill::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(RngTest, DrawsWhatItAlwaysDrew) {
  Rng rng(1);
  std::vector<uint64_t> drawn;
  for (int i = 0; i < 6; ++i) drawn.push_back(rng.Below(100));
  EXPECT_THAT(drawn, ElementsAre(28, 62, 30, 46, 84, 9));
  std::vector<int> items = {1, 2, 3, 4, 5};
  rng.Shuffle(items);
  EXPECT_THAT(items, ElementsAre(5, 1, 3, 2, 4));
}

TEST(PythonStringsTest, JoinsTheStringsOfADict) {
  EXPECT_THAT(
      ReadPythonStringDict("# x\ntopics = {'a': 'one\\n'\n  \"it's \\\"two\\\"\\n\",\n 'b': r'''raw\\n\n''',\n}\n"),
      ElementsAre(Pair("a", "one\nit's \"two\"\n"), Pair("b", "raw\\n\n")));
}

TEST(PythonStringsTest, StopsAtWhatItDoesNotKnow) {
  EXPECT_THAT(ReadPythonStringDict("{'a': 'x', b: 'y'}"), ElementsAre(Pair("a", "x")));
  EXPECT_THAT(ReadPythonStringDict("{'a': 'open"), ElementsAre(Pair("a", "")));
  EXPECT_TRUE(ReadPythonStringDict("no dict").empty());
}

TEST(PythonStringsTest, ReadsDocstringsWithoutTheirIndentation) {
  EXPECT_THAT(
      ReadDocstrings(
          "\"\"\"Top.\"\"\"\ndef f():\n    r\"\"\"One.\n\n      Two\\d.\n    Three.\n    \"\"\"\nx = \"\"\"no\"\"\"\n"),
      ElementsAre("Top.", "One.\n\n  Two\\d.\nThree."));
}

TEST(SourceTextTest, CleansBytes) {
  EXPECT_EQ(CleanText("\n\na \r\nb\xff\f\x01\n\n\n\nc\xc3\xa9", 1), "a\nb\n\nc\xc3\xa9\n");
}

TEST(SourceTextTest, ReadsPod) {
  EXPECT_EQ(
      CleanText(PodText("code\n\n=head1 The B<I<big>> name\n\nSee C<$x> E<lt> 3.\n\n=over 4\n\n=item one\n\n=back\n\n"
                        "=begin html\n\n<p>\n\n=end html\n\nLast.\n\n=cut\n\nmore code\n"),
                1),
      "The big name\n\nSee $x less than 3.\n\none\n\nLast.\n");
}

TEST(SourceTextTest, PiecesGiveTheTextBack) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += std::string(17 * i, 'x') + (i % 3 == 0 ? "\n\n" : "\n");
  const std::vector<std::string> pieces = SplitPieces(text);
  EXPECT_GT(pieces.size(), 10u);
  EXPECT_EQ(absl::StrJoin(pieces, ""), text);
}

TEST(FindOnceTest, TakesAnyWhiteSpaceForAnother) {
  EXPECT_EQ(FindOnce("a  b\n   c d", "b c"), ByteRange(3, 9));
  EXPECT_EQ(FindOnce("b c b c", "b c"), ByteRange(0, 0));
  EXPECT_EQ(FindOnce("b c", "x"), ByteRange(0, 0));
}

TEST(CodeFactsTest, FindsWhatStandsOnce) {
  const std::string code =
      "LIMIT = 4096\n"
      "def load(path, mode='strict', size=770, kind_of='of'):\n"
      "    return open(path)\n"
      "\n"
      "class A:\n"
      "    def kind(self):\n"
      "        \"\"\"Its kind.\"\"\"\n"
      "        return 'special'\n"
      "    def twice(self):\n"
      "        if self:\n"
      "            return 'first-value'\n"
      "        return 'second-value'\n"
      "    def level(self, size=55): return 55\n"
      "def check(x):\n"
      "    if x < 0:\n"
      "        raise ValueError(\"x must not be negative\")\n"
      "    return x\n"
      "MODE_UNCERTAIN = 'uncertain'\n"
      "x = 1\n";
  std::vector<std::string> values;
  for (const CodeFact& fact : FindCodeFacts(code)) {
    values.push_back(fact.value);
    ASSERT_FALSE(fact.evidence.empty());
    const auto& [begin, end] = fact.evidence.back();
    EXPECT_NE(code.substr(begin, end - begin).find(fact.value), std::string::npos) << fact.question;
  }
  EXPECT_THAT(values, ElementsAre("strict", "770", "special", "x must not be negative"));
}

}  // namespace
}  // namespace slimfill::eval
