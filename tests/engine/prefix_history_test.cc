#include "engine/prefix_history.h"

#include <numeric>

#include "gtest/gtest.h"

namespace slimfill::engine {
namespace {

std::vector<TokenId> Tokens(int count, TokenId first = 0) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

std::vector<TokenId> operator+(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(PrefixHistory, ValueIsRequestsTimesTokens) {
  PrefixHistory history(/*min_value=*/100, /*max_size=*/8);
  history.Note(Tokens(99), "");
  EXPECT_EQ(history.Next(), nullptr);
  history.Note(Tokens(60, 1000), "");
  history.Note(Tokens(60, 1000), "");
  ASSERT_NE(history.Next(), nullptr);
  EXPECT_EQ(history.Next()->value(), 120);
  history.Note(Tokens(130, 2000), "");
  EXPECT_EQ(history.Next()->tokens, Tokens(130, 2000)) << "the most valuable first";
  history.Next()->settled = true;
  EXPECT_EQ(history.Next()->tokens, Tokens(60, 1000));
  history.Next()->settled = true;
  EXPECT_EQ(history.Next(), nullptr);
}

TEST(PrefixHistory, AnotherQuestionAndTheNextTurnGoOnWithAConversation) {
  PrefixHistory history(1, 8);
  const std::vector<TokenId> document = Tokens(100);
  history.Note(document + Tokens(10, 500), "");
  history.Next()->settled = true;
  history.Note(document + Tokens(20, 600), "");  // another question
  ASSERT_EQ(history.size(), 1u);
  ASSERT_NE(history.Next(), nullptr) << "what is new is not hot yet";
  EXPECT_EQ(history.Next()->requests, 2);
  history.Note(document + Tokens(20, 600) + Tokens(30, 700), "");  // the next turn
  ASSERT_EQ(history.size(), 1u);
  EXPECT_EQ(history.Next()->requests, 3);
  EXPECT_EQ(history.Next()->tokens.size(), 150u);
}

TEST(PrefixHistory, ASharedInstructionAloneIsNotTheSameConversation) {
  PrefixHistory history(1, 8);
  history.Note(Tokens(20) + Tokens(100, 500), "");
  history.Note(Tokens(20) + Tokens(100, 700), "");
  EXPECT_EQ(history.size(), 2u);
}

TEST(PrefixHistory, TenantsAreKeptApart) {
  PrefixHistory history(1, 8);
  history.Note(Tokens(100), "a");
  history.Note(Tokens(100), "b");
  EXPECT_EQ(history.size(), 2u);
}

TEST(PrefixHistory, TheLeastRecentIsForgotten) {
  PrefixHistory history(1, 2);
  history.Note(Tokens(10, 100), "");
  history.Note(Tokens(10, 200), "");
  history.Note(Tokens(10, 100), "");
  history.Note(Tokens(10, 300), "");
  ASSERT_EQ(history.size(), 2u);
  EXPECT_EQ(history.Next()->tokens, Tokens(10, 100));
  history.Next()->settled = true;
  EXPECT_EQ(history.Next()->tokens, Tokens(10, 300));
}

}  // namespace
}  // namespace slimfill::engine
