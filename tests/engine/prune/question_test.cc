#include <numeric>

#include "absl/strings/str_cat.h"
#include "engine/model/tokenizer.h"
#include "engine/model/vocabulary.h"
#include "engine/prune/policy.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::engine {
namespace {

// One token a character, so that token ranges are character ranges.
class QuestionTest : public ::testing::Test {
 protected:
  QuestionTest() {
    TokenizerData data;
    for (char c = '!'; c <= '~'; ++c) data.tokens.push_back(std::string(1, c));
    data.tokens.push_back("\xC4\xA0");  // space in GPT-2's byte characters
    data.tokens.push_back("\xC4\x8A");  // newline
    data.token_types.assign(data.tokens.size(), 1);
    data.eos = 0;
    auto tokenizer = Tokenizer::FromData(data);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }

  // The segment found in a chat whose last user message is `content`, with 10 tokens of template on either side.
  QuestionSegment FindInChat(const std::string& content) {
    const std::string text = absl::StrCat("----------", content, "----------");
    const std::vector<TokenId> prompt = *tokenizer_->Encode(text, false);
    EXPECT_EQ(prompt.size(), text.size());
    return FindQuestion(prompt, std::nullopt, TokenRange{10, 10 + content.size()}, *tokenizer_);
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

std::string Document(size_t length) {
  std::string text;
  while (text.size() < length) absl::StrAppend(&text, "some words of a document. ");
  return text.substr(0, length);
}

TEST_F(QuestionTest, IsTheLastParagraph) {
  const QuestionSegment question = FindInChat(absl::StrCat(Document(500), "\n\n", Document(400), "\n\nWhat is it?"));
  EXPECT_EQ(question.tokens, TokenRange(10 + 904, 10 + 904 + 11));
  EXPECT_FALSE(question.before_document);
}

TEST_F(QuestionTest, IsTheFirstParagraphWhenOnlyThatOneAsks) {
  const QuestionSegment question = FindInChat(absl::StrCat("What is it?\n\n", Document(500), "\n\nThe end."));
  EXPECT_EQ(question.tokens, TokenRange(10, 10 + 13));
  EXPECT_TRUE(question.before_document);
}

TEST_F(QuestionTest, TheFormOfTheAnswerMayBeToldBehindIt) {
  const std::string question = "What is it? Answer with a number only.";
  const QuestionSegment early = FindInChat(absl::StrCat(question, "\n\n", Document(500), "\n\nThe end."));
  EXPECT_EQ(early.tokens, TokenRange(10, 10 + 40));
  const QuestionSegment late = FindInChat(absl::StrCat("Ready?\n\n", Document(500), "\n\n", question));
  EXPECT_EQ(late.tokens, TokenRange(10 + 510, 10 + 510 + 38));
}

TEST_F(QuestionTest, AFirstParagraphMayPointAheadInstead) {
  for (const std::string first : {"Summarise the text below.", "Summarise the following article.", "Summarise this:"}) {
    const auto size = static_cast<int64_t>(first.size());
    const QuestionSegment question = FindInChat(absl::StrCat(first, "\n\n", Document(400), "\n\n", Document(100)));
    EXPECT_EQ(question.tokens, TokenRange(10, 10 + size + 2)) << first;
    EXPECT_TRUE(question.before_document);
    // A short last paragraph tells what to do with what is announced.
    const QuestionSegment late = FindInChat(absl::StrCat(first, "\n\n", Document(500), "\n\nName the writer."));
    EXPECT_EQ(late.tokens, TokenRange(10 + size + 504, 10 + size + 504 + 16)) << first;
  }
  EXPECT_FALSE(FindInChat(absl::StrCat("A title\n\n", Document(400), "\n\n", Document(100))).before_document);
}

TEST_F(QuestionTest, AQuestionMarkWithinAWordAsksNothing) {
  const std::string link = "See http://example.org/?page=2 for more.";
  EXPECT_FALSE(FindInChat(absl::StrCat(link, "\n\n", Document(500), "\n\nThe end.")).before_document);
}

TEST_F(QuestionTest, PrefersTheLastParagraphWhenBothAsk) {
  const QuestionSegment question = FindInChat(absl::StrCat("Shall we?\n\n", Document(500), "\n\nWhat is it?"));
  EXPECT_EQ(question.tokens.second, 10 + 11 + 500 + 2 + 11);
  EXPECT_FALSE(question.before_document);
}

TEST_F(QuestionTest, IsTheEndOfAMessageWithoutParagraphs) {
  const QuestionSegment question = FindInChat(Document(1000));
  EXPECT_EQ(question.tokens, TokenRange(10 + 1000 - 64, 10 + 1000));
}

TEST_F(QuestionTest, ALongLastParagraphIsNoQuestion) {
  const QuestionSegment question = FindInChat(absl::StrCat(Document(300), "\n\n", Document(700)));
  EXPECT_EQ(question.tokens, TokenRange(10 + 1002 - 64, 10 + 1002));
}

TEST_F(QuestionTest, IsTheEndOfARawPrompt) {
  const std::vector<TokenId> prompt = *tokenizer_->Encode(Document(1000), false);
  EXPECT_EQ(FindQuestion(prompt, std::nullopt, std::nullopt, *tokenizer_).tokens, TokenRange(936, 1000));
  const std::vector<TokenId> brief = *tokenizer_->Encode("hi", false);
  EXPECT_EQ(FindQuestion(brief, std::nullopt, std::nullopt, *tokenizer_).tokens, TokenRange(0, 2));
}

TEST_F(QuestionTest, IsWhatTheCallerSays) {
  const std::vector<TokenId> prompt = *tokenizer_->Encode(Document(1000), false);
  const QuestionSegment early = FindQuestion(prompt, TokenRange{5, 50}, std::nullopt, *tokenizer_);
  EXPECT_EQ(early.tokens, TokenRange(5, 50));
  EXPECT_TRUE(early.before_document);
  EXPECT_FALSE(FindQuestion(prompt, TokenRange{700, 800}, std::nullopt, *tokenizer_).before_document);
}

std::vector<TokenId> Numbers(int count) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

TEST(ProbeTest, IsTheQuestionAndWhatClosesTheMessage) {
  using ::testing::ElementsAre;
  const std::vector<TokenId> prompt = Numbers(1000);
  const QuestionSegment question{{5, 8}, true};
  EXPECT_THAT(ProbeTokens(prompt, question, TokenRange{4, 996}), ElementsAre(5, 6, 7, 996, 997, 998, 999));
  EXPECT_THAT(ProbeTokens(prompt, question, std::nullopt), ElementsAre(5, 6, 7));
  EXPECT_THAT(ProbeTokens(prompt, question, TokenRange{4, 1000}), ElementsAre(5, 6, 7));
  EXPECT_TRUE(ProbeTokens(prompt, {{900, 990}, false}, TokenRange{4, 996}).empty());
}

TEST(ProbeTest, IsTheEndOfALongOne) {
  const std::vector<TokenId> probe = ProbeTokens(Numbers(1000), {{0, 400}, true}, TokenRange{0, 990});
  ASSERT_EQ(probe.size(), kMaxProbeTokens);
  EXPECT_EQ(probe.front(), 400 + 10 - kMaxProbeTokens);
  EXPECT_EQ(probe.back(), 999);
}

}  // namespace
}  // namespace slimfill::engine
