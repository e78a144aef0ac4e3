#include "kvstore/service/attach_tokens.h"

#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

class AttachTokensTest : public ::testing::Test {
 protected:
  FakeClock clock_;
  AttachTokens tokens_{clock_};
};

TEST_F(AttachTokensTest, OpensOnce) {
  const AttachTokens::Grant grant = tokens_.Issue().value(), other = tokens_.Issue().value();
  EXPECT_NE(grant.session, 0u);
  EXPECT_NE(grant.session, other.session);
  EXPECT_EQ(tokens_.Redeem(grant.token), grant.session);
  EXPECT_EQ(tokens_.Redeem(grant.token), std::nullopt);
  EXPECT_EQ(tokens_.Redeem({}), std::nullopt);
  EXPECT_EQ(tokens_.Redeem(other.token), other.session);
}

TEST_F(AttachTokensTest, GrowsOld) {
  const AttachTokens::Grant grant = tokens_.Issue().value();
  clock_.Advance(AttachTokens::kLifetime);
  EXPECT_EQ(tokens_.Redeem(grant.token), std::nullopt);
}

TEST_F(AttachTokensTest, HoldsSoManyUntilTheyGrowOld) {
  for (size_t i = 0; i < AttachTokens::kMaxOpen; ++i) ASSERT_TRUE(tokens_.Issue().ok());
  EXPECT_TRUE(absl::IsResourceExhausted(tokens_.Issue().status()));
  clock_.Advance(AttachTokens::kLifetime);
  EXPECT_TRUE(tokens_.Issue().ok());
}

}  // namespace
}  // namespace slimfill::kvstore
