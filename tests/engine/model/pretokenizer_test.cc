#include "engine/model/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pcre2.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"

namespace slimfill::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Words(const char* name, absl::string_view text) {
  const PreTokenizerRules rules = *PreTokenizerRulesFor(name);
  std::vector<std::string> words;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = NextWordEnd(rules, text, begin);
    if (end <= begin || end > text.size()) {
      ADD_FAILURE() << "word of " << begin << " to " << end;
      break;
    }
    words.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

// The words by the published regular expression.
class RegexWords {
 public:
  explicit RegexWords(const std::string& pattern) {
    int error;
    PCRE2_SIZE offset;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP,
                              &error, &offset, nullptr));
    match_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  }
  bool MatchesAt(absl::string_view text, size_t begin) const {
    return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), begin, PCRE2_ANCHORED,
                       match_.get(), nullptr) > 0;
  }
  void Append(absl::string_view text, std::vector<std::string>& words) const {
    for (size_t begin = 0; begin < text.size();) {
      ASSERT_TRUE(MatchesAt(text, begin)) << absl::CHexEscape(text.substr(begin));
      const size_t end = pcre2_get_ovector_pointer(match_.get())[1];
      words.emplace_back(text.substr(begin, end - begin));
      begin = end;
    }
  }

 private:
  std::unique_ptr<pcre2_code, void (*)(pcre2_code*)> code_{nullptr, pcre2_code_free};
  std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> match_{nullptr, pcre2_match_data_free};
};

constexpr char kGpt2Regex[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
std::string Cl100kRegex(const std::string& digits) {
  return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" + digits +
         R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

constexpr char kTekkenRegex[] = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                                R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                                R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// SmolLM's: each \p{N} alone, GPT-2's expression on what is between them.
std::vector<std::string> SmolLmWords(const RegexWords& gpt2, absl::string_view text) {
  static const RegexWords numbers_and_text(R"(\p{N}|\P{N}+)"), number(R"(\p{N})");
  std::vector<std::string> pieces, words;
  numbers_and_text.Append(text, pieces);
  for (const std::string& piece : pieces) {
    if (number.MatchesAt(piece, 0)) {
      words.push_back(piece);
    } else {
      gpt2.Append(piece, words);
    }
  }
  return words;
}

TEST(PreTokenizerTest, CutsAsThePublishedExpressionsDo) {
  // Every class and every character that an expression names; U+180E is left out, which PCRE2 counts as \s.
  const std::vector<std::string> characters = {" ",
                                               " ",
                                               "\n",
                                               "\r",
                                               "\t",
                                               "\v",
                                               "\xC2\x85",
                                               "\xC2\xA0",
                                               "\xE3\x80\x80",
                                               "\xE2\x80\xA8",
                                               "a",
                                               "Z",
                                               "s",
                                               "S",
                                               "t",
                                               "T",
                                               "r",
                                               "R",
                                               "e",
                                               "E",
                                               "v",
                                               "V",
                                               "m",
                                               "l",
                                               "L",
                                               "d",
                                               "D",
                                               "'",
                                               "'",
                                               "'",
                                               "1",
                                               "7",
                                               ".",
                                               "!",
                                               "_",
                                               "\xC3\xA9",
                                               "\xC3\x89",
                                               "\xC7\x85",
                                               "\xCA\xB0",
                                               "/",
                                               "\xE4\xBD\xA0",
                                               "\xC2\xBD",
                                               "\xD9\xA3",
                                               "\xE2\x85\xA7",
                                               "\xCC\x81",
                                               "\xF0\x9F\x91\x8D",
                                               "\xC5\xBF",
                                               "\xEF\xAC\x86",
                                               "\xF0\x90\x90\x80",
                                               "\xEF\xBB\xBF",
                                               std::string(1, '\0')};
  const RegexWords gpt2(kGpt2Regex), qwen2(Cl100kRegex("")), llama(Cl100kRegex("{1,3}")), tekken(kTekkenRegex);
  std::mt19937 random(3);
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (size_t left = 1 + random() % 20; left > 0; --left) text += characters[random() % characters.size()];
    std::vector<std::string> expected[4];
    gpt2.Append(text, expected[0]);
    qwen2.Append(text, expected[1]);
    llama.Append(text, expected[2]);
    tekken.Append(text, expected[3]);
    ASSERT_EQ(Words("gpt-2", text), expected[0]) << absl::CHexEscape(text);
    ASSERT_EQ(Words("qwen2", text), expected[1]) << absl::CHexEscape(text);
    ASSERT_EQ(Words("llama-bpe", text), expected[2]) << absl::CHexEscape(text);
    ASSERT_EQ(Words("tekken", text), expected[3]) << absl::CHexEscape(text);
    ASSERT_EQ(Words("smollm", text), SmolLmWords(gpt2, text)) << absl::CHexEscape(text);
  }
}

TEST(PreTokenizerTest, DiffersByNameInDigitsAndContractions) {
  const absl::string_view text = "I'LL pay 12345  now";
  EXPECT_THAT(Words("gpt-2", text), ElementsAre("I", "'", "LL", " pay", " 12345", " ", " now"));
  EXPECT_THAT(Words("smollm", text), ElementsAre("I", "'", "LL", " pay", " ", "1", "2", "3", "4", "5", " ", " now"));
  EXPECT_THAT(Words("qwen2", text), ElementsAre("I", "'LL", " pay", " ", "1", "2", "3", "4", "5", " ", " now"));
  EXPECT_THAT(Words("llama-bpe", text), ElementsAre("I", "'LL", " pay", " ", "123", "45", " ", " now"));
}

TEST(PreTokenizerTest, TekkenCutsWhereUpperCaseBegins) {
  EXPECT_THAT(Words("tekken", "HTMLparser isNaN HTTPServer's 42"),
              ElementsAre("HTMLparser", " is", "Na", "N", " HTTPServer", "'s", " ", "4", "2"));
  EXPECT_THAT(Words("tekken", "//\n/x a/b"), ElementsAre("//\n/", "x", " a", "/b"));
}

TEST(PreTokenizerTest, MongolianVowelSeparatorIsNoWhiteSpace) {
  EXPECT_THAT(Words("gpt-2", "a \xE1\xA0\x8E"), ElementsAre("a", " \xE1\xA0\x8E"));
  EXPECT_THAT(Words("qwen2",
                    "\xE1\xA0\x8E"
                    "a"),
              ElementsAre("\xE1\xA0\x8E"
                          "a"));
}

TEST(PreTokenizerTest, RejectsUnknownNames) {
  for (const char* name : {"", "Qwen2", "default", "deepseek-coder"}) {
    const auto rules = PreTokenizerRulesFor(name);
    ASSERT_TRUE(absl::IsInvalidArgument(rules.status()));
    EXPECT_THAT(std::string(rules.status().message()), HasSubstr("qwen2, smollm, gpt-2, llama-bpe and tekken"));
  }
}

}  // namespace
}  // namespace slimfill::engine
