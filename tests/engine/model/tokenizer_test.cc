#include "engine/model/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/model/nfc.h"
#include "tests/engine/model/tokenizer_support.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/tiny_model.h"

namespace slimfill::engine {
namespace {

using ::slimfill::testing::GoldenTokenizer;
using ::slimfill::testing::ReadTokenizerGolden;
using ::slimfill::testing::SmallTokenizer;
using ::slimfill::testing::SmallTokenizerData;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

std::vector<TokenId> Encode(const Tokenizer& tokenizer, absl::string_view text, bool parse_special = false) {
  absl::StatusOr<std::vector<TokenId>> tokens = tokenizer.Encode(text, parse_special);
  EXPECT_TRUE(tokens.ok()) << tokens.status();
  return tokens.ok() ? *std::move(tokens) : std::vector<TokenId>{};
}

std::string RoundTrip(const Tokenizer& tokenizer, absl::string_view text) {
  return tokenizer.Decode(Encode(tokenizer, text));
}

std::string RandomBytes(std::mt19937& random, size_t max_bytes) {
  static constexpr absl::string_view kPieces[] = {
      "a",        "the ", " ",        "\n",       "12",           "\xC3\xA9", "\xE4\xBD\xA0", "\xF0\x9F\x91\x8D",
      "\xCC\x81", "'s",   "\xE4\xBD", "\xF0\x9F", "\xED\xA0\x80", "\xC0\xAF", "\xF5\x80",     "<|im_end|>"};
  std::string text;
  const size_t bytes = random() % (max_bytes + 1);
  while (text.size() < bytes) {
    if (random() % 2 == 0) {
      text.push_back(static_cast<char>(random() % 256));
    } else {
      const absl::string_view piece = kPieces[random() % std::size(kPieces)];
      text.append(piece.data(), piece.size());
    }
  }
  return text;
}

// Equality with HF's tokenizers, of the two models and of the four pre-tokenizers with the small vocabulary.
class GoldenTest : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, GoldenTest,
                         ::testing::Values("qwen2", "smollm", "small_gpt-2", "small_smollm", "small_qwen2",
                                           "small_llama-bpe"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(GoldenTest, EncodesEveryTextAsHfDoes) {
  const Tokenizer& tokenizer = GoldenTokenizer(GetParam());
  const auto texts = ReadTokenizerGolden("corpus.json").get<std::vector<std::string>>();
  const auto ids =
      ReadTokenizerGolden(absl::StrCat(GetParam(), ".json")).at("ids").get<std::vector<std::vector<TokenId>>>();
  ASSERT_GE(texts.size(), ids.size());
  ASSERT_GT(ids.size(), 400u);
  size_t tokens = 0, equal = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::vector<TokenId> encoded = Encode(tokenizer, texts[i]);
    tokens += ids[i].size();
    equal += encoded == ids[i];
    if (i - equal < 5) {
      EXPECT_EQ(encoded, ids[i]) << "text " << i << ": " << absl::Utf8SafeCHexEscape(texts[i]);
    }
  }
  EXPECT_EQ(equal, ids.size());
  std::cout << GetParam() << ": " << equal << " of " << ids.size() << " texts equal, " << tokens << " tokens\n";
}

TEST_P(GoldenTest, TreatsAddedTokensAsHfDoes) {
  const Tokenizer& tokenizer = GoldenTokenizer(GetParam());
  const auto goldens = ReadTokenizerGolden(absl::StrCat(GetParam(), ".json"));
  for (const auto& golden : goldens.at("special")) {
    const auto text = golden.at("text").get<std::string>();
    EXPECT_EQ(Encode(tokenizer, text, true), golden.at("control").get<std::vector<TokenId>>()) << text;
    EXPECT_EQ(Encode(tokenizer, text, false), golden.at("plain").get<std::vector<TokenId>>()) << text;
  }
}

TEST_P(GoldenTest, NeverMakesControlTokensOfPlainText) {
  const Tokenizer& tokenizer = GoldenTokenizer(GetParam());
  std::string markers;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.IsSpecial(id)) continue;
    absl::StrAppend(&markers, tokenizer.TokenBytes(id, true), id % 2 ? "" : " ");
  }
  std::mt19937 random(7);
  for (int i = 0; i < 50; ++i) {
    for (TokenId id : Encode(tokenizer, markers)) ASSERT_FALSE(tokenizer.IsSpecial(id)) << markers;
    markers.insert(random() % markers.size(), RandomBytes(random, 8));
  }
}

TEST_P(GoldenTest, EndsOfTokensCoverTheText) {
  const Tokenizer& tokenizer = GoldenTokenizer(GetParam());
  const auto texts = ReadTokenizerGolden("corpus.json").get<std::vector<std::string>>();
  size_t exact = 0;
  for (size_t i = 0; i < 400; ++i) {
    const absl::string_view text = texts[i];
    const auto tokens = *tokenizer.EncodeWithOffsets(text, false);
    std::vector<TokenId> ids;
    for (const TokenEnd& token : tokens) ids.push_back(token.token);
    ASSERT_EQ(ids, Encode(tokenizer, text));
    // Where nothing was left out or normalized, a token is exactly the bytes it covers.
    const bool is_exact = tokenizer.Decode(ids) == text;
    exact += is_exact;
    size_t begin = 0;
    for (const TokenEnd& token : tokens) {
      ASSERT_GE(token.end, begin);
      ASSERT_LE(token.end, text.size());
      if (is_exact) {
        ASSERT_EQ(tokenizer.TokenBytes(token.token), text.substr(begin, token.end - begin));
      }
      begin = token.end;
    }
    if (is_exact) {
      ASSERT_EQ(begin, text.size());
    }
  }
  EXPECT_GT(exact, 200u);
}

TEST_P(GoldenTest, DecodesWhatItEncoded) {
  const Tokenizer& tokenizer = GoldenTokenizer(GetParam());
  const bool is_qwen = absl::EndsWith(GetParam(), "qwen2");
  for (const auto& text : ReadTokenizerGolden("corpus.json").get<std::vector<std::string>>()) {
    std::string expected = is_qwen ? std::string(NfcText(text).text()) : text;
    if (GetParam() == std::string("smollm")) {
      const auto has_no_token = [&](char c) { return Encode(tokenizer, absl::string_view(&c, 1)).empty(); };
      expected.erase(std::remove_if(expected.begin(), expected.end(), has_no_token), expected.end());
    }
    ASSERT_EQ(RoundTrip(tokenizer, text), expected);
  }
}

class ByteRoundTripTest : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, ByteRoundTripTest, ::testing::Values("gpt-2", "smollm", "llama-bpe"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(ByteRoundTripTest, GivesBackAnyBytes) {
  const auto tokenizer = SmallTokenizer(GetParam());
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    const std::string bytes = RandomBytes(random, 200);
    ASSERT_EQ(RoundTrip(*tokenizer, bytes), bytes) << absl::CHexEscape(bytes);
  }
}

TEST(TokenizerTest, QwenGivesBackInvalidBytesAndNormalizesAroundThem) {
  const Tokenizer& tokenizer = GoldenTokenizer("qwen2");
  EXPECT_EQ(RoundTrip(tokenizer, "e\xCC\x81"), "\xC3\xA9");
  EXPECT_EQ(RoundTrip(tokenizer,
                      "\xFF"
                      "e\xCC\x81\xC3"),
            "\xFF\xC3\xA9\xC3");
  EXPECT_EQ(RoundTrip(tokenizer, "e\xFF\xCC\x81"), "e\xFF\xCC\x81");
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(RoundTrip(tokenizer, all), all);
  std::mt19937 random(2);
  for (int i = 0; i < 1000; ++i) {
    const std::string normalized = RoundTrip(tokenizer, RandomBytes(random, 200));
    ASSERT_EQ(RoundTrip(tokenizer, normalized), normalized) << absl::CHexEscape(normalized);
  }
}

TEST(TokenizerTest, SmolLmLeavesOutBytesThatItHasNoTokenFor) {
  const Tokenizer& tokenizer = GoldenTokenizer("smollm");
  std::string all, kept;
  int missing = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    const std::string back = RoundTrip(tokenizer, one);
    if (back.empty()) {
      ++missing;
    } else {
      EXPECT_EQ(back, one);
    }
    all += one;
    kept += back;
  }
  EXPECT_EQ(missing, 21);
  EXPECT_EQ(RoundTrip(tokenizer, all), kept);
  // What was beside them is adjacent, and one word if it was.
  EXPECT_EQ(Encode(tokenizer, "(\x04)"), Encode(tokenizer, "()"));
}

TEST(TokenizerTest, LongHostileWordsAreTokenizedInFull) {
  constexpr size_t kBytes = 1 << 18;
  // U+0323 has a lower combining class than U+0301: each would move before all of the other.
  for (absl::string_view unit : {"a", " ", "1", "\n", "'", "ab", " \n", "\xCC\x81\xCC\xA3", "\xE1\x84\x80\xE1\x85\xA1",
                                 "\xFF", "<|im_", "\xF0\x9F\x91\x8D\xE2\x80\x8D"}) {
    std::string text;
    while (text.size() < kBytes) text.append(unit.data(), unit.size());
    for (const char* pre : {"gpt-2", "smollm", "llama-bpe"}) {
      EXPECT_EQ(RoundTrip(*SmallTokenizer(pre), text), text) << pre << " " << absl::CHexEscape(unit);
    }
    const std::string normalized = RoundTrip(GoldenTokenizer("qwen2"), text);
    EXPECT_EQ(RoundTrip(GoldenTokenizer("qwen2"), normalized), normalized) << absl::CHexEscape(unit);
  }
}

TEST(TokenizerTest, StopsAtTheTokenLimit) {
  for (const char* name : {"small_gpt-2", "small_qwen2", "qwen2"}) {
    const Tokenizer& tokenizer = GoldenTokenizer(name);
    for (const std::string& text :
         {std::string("The pump hasn't leaked\n\xFF\xFE <|im_end|> 12"), std::string(3000, 'x'),
          std::string(3000, '\xFF'), std::string("<tool_call><tool_call>")}) {
      const auto tokens = static_cast<int64_t>(Encode(tokenizer, text, true).size());
      EXPECT_TRUE(tokenizer.Encode(text, true, tokens).ok());
      for (int64_t limit = 1; limit < tokens; limit += 1 + tokens / 20) {
        const auto limited = tokenizer.Encode(text, true, limit);
        EXPECT_TRUE(absl::IsResourceExhausted(limited.status())) << limited.status();
        EXPECT_THAT(std::string(limited.status().message()), HasSubstr(absl::StrCat("limit of ", limit)));
      }
    }
  }
  // Bytes that make no tokens do not count.
  EXPECT_TRUE(GoldenTokenizer("smollm").Encode(std::string(100000, '\x04') + "a", false, 1).ok());
}

TEST(TokenizerTest, ReadsTheModelsSpecialTokens) {
  const Tokenizer& qwen = GoldenTokenizer("qwen2");
  EXPECT_EQ(qwen.vocab_size(), 151936);
  EXPECT_EQ(qwen.eos(), *qwen.SpecialId("<|im_end|>"));
  EXPECT_EQ(qwen.bos(), *qwen.SpecialId("<|endoftext|>"));
  EXPECT_FALSE(qwen.add_bos());
  EXPECT_THAT(qwen.stop_tokens(), ElementsAre(151645, 151643));
  EXPECT_TRUE(absl::IsNotFound(qwen.SpecialId("<tool_call>").status()));
  EXPECT_TRUE(absl::IsNotFound(qwen.SpecialId("").status()));

  const Tokenizer& smollm = GoldenTokenizer("smollm");
  EXPECT_EQ(smollm.vocab_size(), 49152);
  EXPECT_THAT(smollm.stop_tokens(), ElementsAre(2, 0));
}

TEST(TokenizerTest, DecodesSpecialTokensOnlyWhenAsked) {
  const auto tokenizer = SmallTokenizer("gpt-2");
  const auto tokens = Encode(*tokenizer, "a<|im_end|><tool_call>b", true);
  EXPECT_EQ(tokenizer->Decode(tokens), "a<tool_call>b");
  EXPECT_EQ(tokenizer->Decode(tokens, true), "a<|im_end|><tool_call>b");
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
  EXPECT_EQ(tokenizer->TokenBytes(tokenizer->vocab_size(), true), "");
  EXPECT_FALSE(tokenizer->IsSpecial(-1));
  EXPECT_FALSE(tokenizer->IsSpecial(tokenizer->vocab_size()));
}

TEST(TokenizerTest, UnusedTokensDecodeToNothing) {
  const Tokenizer& qwen = GoldenTokenizer("qwen2");
  EXPECT_EQ(qwen.TokenBytes(151700, true), "");
  EXPECT_THAT(Encode(qwen, "[PAD151700]", true), Not(Contains(151700)));
}

TEST(TokenizerTest, LongestOfOverlappingAddedTokensWins) {
  TokenizerData data = SmallTokenizerData("gpt-2");
  for (const char* text : {"<x>", "<x>y", "<x>yz!", "y>"}) {
    data.tokens.push_back(text);
    data.token_types.push_back(3);
  }
  const auto tokenizer = *Tokenizer::FromData(data);
  const auto id = [&](const char* text) { return *tokenizer->SpecialId(text); };
  EXPECT_THAT(Encode(*tokenizer, "<x><x>y<x>yz!", true), ElementsAre(id("<x>"), id("<x>y"), id("<x>yz!")));
  EXPECT_EQ(tokenizer->Decode(Encode(*tokenizer, "<x>yz<x>y>", true), true), "<x>yz<x>y>");
  EXPECT_THAT(Encode(*tokenizer, "<x>yz<x>y>", true), IsSupersetOf({id("<x>y"), id("<x>y")}));
  EXPECT_THAT(Encode(*tokenizer, "<x>yy>", true), ElementsAre(id("<x>y"), id("y>")));
}

TEST(TokenizerTest, EncodesTheSameFromManyThreads) {
  const Tokenizer& tokenizer = GoldenTokenizer("small_qwen2");
  const auto texts = ReadTokenizerGolden("corpus.json").get<std::vector<std::string>>();
  std::vector<std::vector<TokenId>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < 200; ++i) {
        const auto tokens = *tokenizer.Encode(texts[i], false);
        result.insert(result.end(), tokens.begin(), tokens.end());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, results[0]);
}

TEST(TokenizerTest, ReadsAGgufFile) {
  const auto bytes = slimfill::testing::MakeTinyModelGguf();
  const auto tokenizer = Tokenizer::FromGguf(**GgufFile::Parse(bytes, "tiny.gguf"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->eos(), *(*tokenizer)->SpecialId("<|im_end|>"));
  EXPECT_EQ(RoundTrip(**tokenizer, "the pump\xFF"), "the pump\xFF");
}

TEST(TokenizerTest, NamesTheGgufKeyThatIsMissingOrWrong) {
  const auto error_without = [](absl::string_view missing, absl::string_view model = "gpt2") {
    slimfill::testing::GgufBuilder builder;
    const auto wanted = [missing](absl::string_view key) { return key != missing; };
    if (wanted("tokenizer.ggml.model")) builder.SetString("tokenizer.ggml.model", model);
    if (wanted("tokenizer.ggml.pre")) {
      builder.SetString("tokenizer.ggml.pre", missing == "known pre" ? "deepseek-llm" : "gpt-2");
    }
    if (wanted("tokenizer.ggml.tokens")) builder.SetStrings("tokenizer.ggml.tokens", {"a", "b", "ab", "<e>"});
    if (wanted("tokenizer.ggml.token_type")) builder.SetInts("tokenizer.ggml.token_type", {1, 1, 1, 3});
    if (wanted("tokenizer.ggml.merges")) builder.SetStrings("tokenizer.ggml.merges", {"a b"});
    if (wanted("tokenizer.ggml.eos_token_id")) {
      builder.SetInt("tokenizer.ggml.eos_token_id", missing == "eos in range" ? 4 : 3);
    }
    const auto bytes = builder.Build();
    const auto tokenizer = Tokenizer::FromGguf(**GgufFile::Parse(bytes, "small.gguf"));
    EXPECT_EQ(tokenizer.ok(), missing == "nothing") << tokenizer.status();
    EXPECT_TRUE(tokenizer.ok() || absl::IsInvalidArgument(tokenizer.status())) << tokenizer.status();
    return std::string(tokenizer.status().message());
  };
  error_without("nothing");
  for (const char* key : {"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
                          "tokenizer.ggml.token_type", "tokenizer.ggml.merges", "tokenizer.ggml.eos_token_id"}) {
    EXPECT_THAT(error_without(key), HasSubstr(key));
    EXPECT_THAT(error_without(key), HasSubstr("small.gguf"));
  }
  EXPECT_THAT(error_without("eos in range"), HasSubstr("eos_token_id is 4, the vocabulary has 4 tokens"));
  EXPECT_THAT(error_without("known pre"), HasSubstr("small.gguf: pre-tokenizer 'deepseek-llm' is not supported"));
  EXPECT_THAT(error_without("", "llama"), HasSubstr("'llama', supported is 'gpt2'"));
}

struct BadData {
  const char* name;
  void (*spoil)(TokenizerData&);
  const char* message;
};
class BadDataTest : public ::testing::TestWithParam<BadData> {};
INSTANTIATE_TEST_SUITE_P(
    All, BadDataTest,
    ::testing::Values(BadData{"NoTokens", [](auto& d) { d.tokens.clear(); }, "tokens has 0 tokens"},
                      BadData{"TooFewTypes", [](auto& d) { d.token_types.pop_back(); }, "token_type has"},
                      BadData{"SentencePieceByte", [](auto& d) { d.token_types[3] = 6; }, "token 3"},
                      BadData{"HugeType", [](auto& d) { d.token_types[3] = int64_t{1} << 40; }, "type 1099511627776"},
                      BadData{"NegativeType", [](auto& d) { d.token_types[3] = -1; }, "type -1"},
                      BadData{"EmptyToken", [](auto& d) { d.tokens[5] = ""; }, "token 5"},
                      BadData{"TokenOfNoBytes", [](auto& d) { d.tokens[5] = "\xE4\xBD\xA0"; },
                              "U+4F60 stands for no byte"},
                      BadData{"TokenNotUtf8", [](auto& d) { d.tokens[5] = "\xFF"; }, "not valid UTF-8"},
                      BadData{"DuplicateToken", [](auto& d) { d.tokens[6] = d.tokens[5]; }, "tokens 5 and 6"},
                      BadData{"MergeWithoutSpace", [](auto& d) { d.merges[1] = "ab"; }, "merge 1 'ab'"},
                      BadData{"EmptyMerge", [](auto& d) { d.merges[1] = ""; }, "merge 1"},
                      BadData{"MergeOfUnknown", [](auto& d) { d.merges[1] = "a qqqqqq"; }, "merge 1"},
                      BadData{"MergeIntoControl",
                              [](auto& d) {
                                d.tokens.push_back("<!");
                                d.token_types.push_back(3);
                                d.merges.push_back("< !");
                              },
                              "not two normal tokens"},
                      BadData{"NoEos", [](auto& d) { d.eos = -1; }, "eos_token_id"},
                      BadData{"EosOutOfRange", [](auto& d) { d.eos = 1 << 30; }, "eos_token_id"},
                      BadData{"BosOutOfRange", [](auto& d) { d.bos = -2; }, "bos_token_id is -2"},
                      BadData{"AddBosWithoutBos",
                              [](auto& d) {
                                d.bos = -1;
                                d.add_bos = true;
                              },
                              "bos_token_id is missing"}),
    [](const auto& info) { return info.param.name; });

TEST_P(BadDataTest, IsRejectedWithWhatIsWrong) {
  TokenizerData data = SmallTokenizerData("gpt-2");
  GetParam().spoil(data);
  const auto tokenizer = Tokenizer::FromData(data);
  ASSERT_TRUE(absl::IsInvalidArgument(tokenizer.status())) << tokenizer.status();
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr(GetParam().message));
}

}  // namespace
}  // namespace slimfill::engine
