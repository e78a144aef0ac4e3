#include "engine/sampling/output_stream.h"

#include <gtest/gtest.h>

#include <random>

#include "absl/strings/match.h"
#include "engine/model/utf8.h"
#include "tests/engine/model/tokenizer_support.h"

namespace slimfill::engine {
namespace {

using ::slimfill::testing::GoldenTokenizer;

const Tokenizer& SmallTokenizer() { return GoldenTokenizer("small_gpt-2"); }

struct Output {
  std::vector<std::string> pieces;
  std::string text;
  FinishReason finish = FinishReason::kNone;
  int64_t tokens = 0;
};

// Pushes until the stream finishes; flushes when it does not.
Output Generate(const SamplingParams& params, const std::vector<TokenId>& tokens) {
  OutputStream stream(SmallTokenizer(), params);
  Output output;
  for (TokenId token : tokens) {
    OutputStream::Piece piece = stream.Push(token);
    EXPECT_EQ(ValidUtf8Prefix(piece.text), piece.text.size());
    output.pieces.push_back(piece.text);
    output.text += piece.text;
    output.finish = piece.finish;
    if (piece.finish != FinishReason::kNone) break;
  }
  if (output.finish == FinishReason::kNone) output.text += stream.Flush();
  output.tokens = stream.tokens();
  return output;
}

// One token for each byte.
std::vector<TokenId> Bytes(absl::string_view text) {
  std::vector<TokenId> tokens;
  for (char byte : text) tokens.push_back(SmallTokenizer().Encode(absl::string_view(&byte, 1), false)->at(0));
  return tokens;
}

SamplingParams Stops(std::vector<std::string> stop) {
  SamplingParams params;
  params.stop = std::move(stop);
  return params;
}

TEST(OutputStreamTest, PassesTextThroughAsItComes) {
  const Output output = Generate({}, Bytes("h\xC3\xA9!"));
  EXPECT_EQ(output.pieces, (std::vector<std::string>{"h", "", "\xC3\xA9", "!"}));
  EXPECT_EQ(output.finish, FinishReason::kNone);
  EXPECT_EQ(output.tokens, 4);
}

TEST(OutputStreamTest, StopTokensEndItWithoutTheirText) {
  for (const char* name : {"<|end_of_text|>", "<|eot_id|>", "<|im_end|>"}) {
    std::vector<TokenId> tokens = Bytes("ab");
    tokens.push_back(*SmallTokenizer().SpecialId(name));
    const Output output = Generate(Stops({"abc"}), tokens);
    EXPECT_EQ(output.text, "ab") << name;  // what was held for "abc" comes out
    EXPECT_EQ(output.finish, FinishReason::kStop);
    EXPECT_EQ(output.tokens, 3);
  }
  SamplingParams params;
  params.stop_token_ids = {Bytes("b")[0]};
  EXPECT_EQ(Generate(params, Bytes("abc")).text, "a");
  EXPECT_EQ(Generate(params, Bytes("abc")).finish, FinishReason::kStop);
}

TEST(OutputStreamTest, IgnoreEosGoesOnPastTheModelsStopTokensOnly) {
  SamplingParams params;
  params.ignore_eos = true;
  params.stop_token_ids = {Bytes("c")[0]};
  std::vector<TokenId> tokens = Bytes("ab");
  tokens.insert(tokens.begin() + 1, SmallTokenizer().eos());
  EXPECT_EQ(Generate(params, tokens).text, "ab");
  EXPECT_EQ(Generate(params, tokens).finish, FinishReason::kNone);
  tokens.push_back(Bytes("c")[0]);
  EXPECT_EQ(Generate(params, tokens).finish, FinishReason::kStop);
}

TEST(OutputStreamTest, HoldsBackWhatMayBecomeAStopString) {
  const Output output = Generate(Stops({"STOP"}), Bytes("aSTxSSTOPz"));
  EXPECT_EQ(output.pieces, (std::vector<std::string>{"a", "", "", "STx", "", "S", "", "", ""}));
  EXPECT_EQ(output.finish, FinishReason::kStopString);
  EXPECT_EQ(output.tokens, 9);
}

TEST(OutputStreamTest, StopStringInsideOneTokenAndAcrossCharacters) {
  const auto tokens = *SmallTokenizer().Encode("the pump \xF0\x9F\x91\x8D was", false);
  EXPECT_EQ(Generate(Stops({"he"}), tokens).text, "t");
  EXPECT_EQ(Generate(Stops({"\xF0\x9F\x91\x8D w"}), tokens).text, "the pump ");
  EXPECT_EQ(Generate(Stops({"\xF0\x9F\x91\x8E"}), tokens).text, "the pump \xF0\x9F\x91\x8D was");
}

TEST(OutputStreamTest, FirstCompleteStopStringWinsAndOfEqualEndsTheLongest) {
  EXPECT_EQ(Generate(Stops({"abcd", "bc"}), Bytes("xabcd")).text, "xa");
  EXPECT_EQ(Generate(Stops({"c", "abc"}), Bytes("xabcd")).text, "x");
  EXPECT_EQ(Generate(Stops({"d", "a"}), Bytes("xabcd")).text, "x");
}

TEST(OutputStreamTest, EndsAtMaxTokens) {
  SamplingParams params = Stops({"cd"});
  params.max_tokens = 3;
  const Output output = Generate(params, Bytes("abcdef"));
  EXPECT_EQ(output.text, "abc");  // held for "cd", and out at the end
  EXPECT_EQ(output.finish, FinishReason::kLength);
  EXPECT_EQ(output.tokens, 3);
  // An unfinished character comes out as U+FFFD.
  EXPECT_EQ(Generate(params, Bytes("a\xF0\x9F\x91\x8D")).text, "a\xEF\xBF\xBD");
}

TEST(OutputStreamTest, LastTokenThatStopsIsAStop) {
  SamplingParams params = Stops({"bc"});
  params.max_tokens = 3;
  EXPECT_EQ(Generate(params, Bytes("abc")).finish, FinishReason::kStopString);
  EXPECT_EQ(Generate(params, Bytes("abc")).text, "a");
  std::vector<TokenId> tokens = Bytes("ab");
  tokens.push_back(SmallTokenizer().eos());
  EXPECT_EQ(Generate(params, tokens).finish, FinishReason::kStop);
}

TEST(OutputStreamTest, FlushGivesWhatWasHeld) {
  OutputStream stream(SmallTokenizer(), Stops({"abc"}));
  for (TokenId token : Bytes("ab")) EXPECT_EQ(stream.Push(token).text, "");
  EXPECT_EQ(stream.Flush(), "ab");
  EXPECT_EQ(stream.Flush(), "");
}

TEST(OutputStreamTest, ReasonsHaveTheirNames) {
  EXPECT_STREQ(FinishReasonName(FinishReason::kStop), "stop");
  EXPECT_STREQ(FinishReasonName(FinishReason::kStopString), "stop");
  EXPECT_STREQ(FinishReasonName(FinishReason::kLength), "length");
  EXPECT_STREQ(FinishReasonName(FinishReason::kContextFull), "length");
  EXPECT_STREQ(FinishReasonName(FinishReason::kCancelled), "cancelled");
  EXPECT_STREQ(FinishReasonName(FinishReason::kNone), "none");
}

// The whole text at once: cut before the stop string that is complete first.
std::string CutNaively(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (absl::EndsWith(absl::string_view(text).substr(0, end), stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(OutputStreamTest, EqualsCuttingTheWholeText) {
  std::mt19937 random(9);
  const std::vector<std::string> alphabet = {"a", "b", "ab", "\xC3\xA9", "\xC3", "\xA9", "\xF0\x9F", "\xFF", "c"};
  const auto random_text = [&](size_t max_length) {
    std::string text;
    for (size_t left = 1 + random() % max_length; left > 0; --left) text += alphabet[random() % alphabet.size()];
    return text;
  };
  int stopped = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops;
    for (size_t left = random() % 4; left > 0; --left) {
      std::string stop = random_text(5);
      stops.push_back(TakeUtf8(stop, true));  // as Validate demands; U+FFFD may match
    }
    SamplingParams params = Stops(stops);
    if (random() % 2) params.max_tokens = static_cast<int32_t>(1 + random() % 30);
    std::vector<TokenId> tokens = Bytes(random_text(30));
    if (random() % 2) tokens = *SmallTokenizer().Encode(SmallTokenizer().Decode(tokens), false);
    const Output output = Generate(params, tokens);

    if (tokens.size() > static_cast<size_t>(params.max_tokens)) tokens.resize(params.max_tokens);
    std::string bytes = SmallTokenizer().Decode(tokens);
    const std::string text = TakeUtf8(bytes, true);
    const std::string expected = CutNaively(text, stops);
    ASSERT_EQ(output.text, expected);
    stopped += output.finish == FinishReason::kStopString;
    if (output.finish != FinishReason::kStopString) {
      // Only the flush at the end may complete a stop string without the stream saying so.
      EXPECT_EQ(output.finish == FinishReason::kLength, tokens.size() == static_cast<size_t>(params.max_tokens));
    }
  }
  EXPECT_GT(stopped, 1000);
}

}  // namespace
}  // namespace slimfill::engine
