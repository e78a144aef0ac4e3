#include <gtest/gtest.h>

#include <random>

#include "absl/strings/escaping.h"
#include "engine/model/tokenizer.h"
#include "engine/model/utf8.h"
#include "tests/engine/model/tokenizer_support.h"

namespace slimfill::engine {
namespace {

using ::slimfill::testing::GoldenTokenizer;

// All of `bytes` with U+FFFD for each longest beginning of a character that does not go on.
std::string WithReplacements(absl::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const Utf8Char c = FirstUtf8Char(bytes);
    const absl::string_view out = c.state == Utf8State::kValid ? bytes.substr(0, c.bytes) : kReplacementCharacter;
    text.append(out.data(), out.size());
    bytes.remove_prefix(c.bytes);
  }
  return text;
}

TEST(StreamingDetokenizerTest, DeltasAreValidAndAddUpToTheText) {
  for (const char* name : {"small_gpt-2", "qwen2", "smollm"}) {
    const Tokenizer& tokenizer = GoldenTokenizer(name);
    std::mt19937 random(5);
    for (int round = 0; round < 300; ++round) {
      StreamingDetokenizer detokenizer(tokenizer);
      std::vector<TokenId> tokens;
      std::string streamed;
      for (size_t left = random() % 60; left > 0; --left) {
        // The first tokens are single bytes: most sequences of them are not UTF-8.
        const int range = random() % 2 ? 256 : tokenizer.vocab_size();
        tokens.push_back(static_cast<TokenId>(random() % range));
        const std::string delta = detokenizer.Push(tokens.back());
        ASSERT_EQ(ValidUtf8Prefix(delta), delta.size());
        streamed += delta;
      }
      streamed += detokenizer.Flush();
      ASSERT_EQ(streamed, WithReplacements(tokenizer.Decode(tokens))) << absl::CHexEscape(tokenizer.Decode(tokens));
      EXPECT_EQ(detokenizer.Flush(), "");
    }
  }
}

TEST(StreamingDetokenizerTest, HoldsTheBytesOfAnUnfinishedCharacter) {
  const Tokenizer& tokenizer = GoldenTokenizer("small_gpt-2");
  StreamingDetokenizer detokenizer(tokenizer);
  std::vector<std::string> deltas;
  for (char byte : std::string("\xF0\x9F\x91\x8Dx")) {
    deltas.push_back(detokenizer.Push(tokenizer.Encode(std::string(1, byte), false)->at(0)));
  }
  EXPECT_EQ(deltas, (std::vector<std::string>{"", "", "", "\xF0\x9F\x91\x8D", "x"}));
}

TEST(StreamingDetokenizerTest, SpecialTokensHaveNoText) {
  const Tokenizer& tokenizer = GoldenTokenizer("small_gpt-2");
  StreamingDetokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.Push(*tokenizer.SpecialId("<|im_end|>")), "");
  EXPECT_EQ(detokenizer.Flush(), "");
}

// RFC 3629 and Unicode 3.9, table 3-8.
TEST(Utf8Test, ReplacesMaximalSubparts) {
  const auto take = [](std::string bytes) { return TakeUtf8(bytes, true); };
  const std::string r(kReplacementCharacter);
  EXPECT_EQ(take("a\xF1\x80\x80\xE1\x80\xC2"
                 "b\x80"
                 "c\x80\xBF"
                 "d"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
  EXPECT_EQ(take("\xC0\xAF"), r + r);          // overlong
  EXPECT_EQ(take("\xED\xA0\x80"), r + r + r);  // a surrogate
  EXPECT_EQ(take("\xF4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(take("\xF4\x8F\xBF\xBF\xEF\xBF\xBF"), "\xF4\x8F\xBF\xBF\xEF\xBF\xBF");
  EXPECT_EQ(take("\xE4\xBD"), r);
}

TEST(Utf8Test, WritesAndReadsEveryCodePoint) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    AppendUtf8(c, text);
    const Utf8Char read = FirstUtf8Char(text);
    ASSERT_EQ(read.state, Utf8State::kValid);
    ASSERT_EQ(read.code_point, c);
    ASSERT_EQ(read.bytes, text.size());
    size_t position = 0;
    ASSERT_EQ(NextCodePoint(text, position), c);
    ASSERT_EQ(position, text.size());
    for (size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_EQ(FirstUtf8Char(absl::string_view(text).substr(0, cut)).state, Utf8State::kTruncated);
    }
  }
}

}  // namespace
}  // namespace slimfill::engine
