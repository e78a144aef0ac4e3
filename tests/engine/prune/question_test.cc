#include "absl/strings/str_cat.h"
#include "engine/model/tokenizer.h"
#include "engine/model/vocabulary.h"
#include "engine/prune/policy.h"
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

}  // namespace
}  // namespace slimfill::engine
