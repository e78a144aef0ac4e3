#include "kvstore/core/leases.h"

#include "gtest/gtest.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;

class LeaseTableTest : public ::testing::Test {
 protected:
  static absl::Time At(int seconds) { return absl::UnixEpoch() + absl::Seconds(seconds); }
  LeaseTable table_{{.ttl = absl::Seconds(10), .max_leases = 3, .max_blocks = 4}};
};

TEST_F(LeaseTableTest, HandsOverWhatALeaseHeld) {
  std::vector<EntryRef> pins = {{{0, Key(1)}, 5}, {{0, Key(2)}, 6}};
  const LeaseId id = table_.OpenPrefix(pins, 0, At(0)).value();
  const std::optional<Lease> lease = table_.Take(id);
  ASSERT_TRUE(lease.has_value());
  ASSERT_EQ(lease->pins.size(), 2u);
  EXPECT_EQ(lease->pins[1].generation, 6u);
  EXPECT_FALSE(table_.Take(id).has_value());
  EXPECT_EQ(table_.size(), 0u);
}

TEST_F(LeaseTableTest, ExpiresInOrderAndNotBeforeTime) {
  const LeaseId first = table_.OpenPrivate(0, At(0)).value(), second = table_.OpenPrivate(0, At(1)).value();
  EXPECT_FALSE(table_.TakeExpired(At(9)).has_value());
  EXPECT_EQ(table_.TakeExpired(At(20))->id, first);
  EXPECT_EQ(table_.TakeExpired(At(20))->id, second);
  EXPECT_FALSE(table_.TakeExpired(At(20)).has_value());
}

TEST_F(LeaseTableTest, RenewMovesTheEndAndNeverBack) {
  const LeaseId id = table_.OpenPrivate(0, At(5)).value();
  ASSERT_TRUE(table_.Renew(id, At(2)).ok());
  EXPECT_FALSE(table_.TakeExpired(At(14)).has_value());
  ASSERT_TRUE(table_.Renew(id, At(14)).ok());
  EXPECT_FALSE(table_.TakeExpired(At(23)).has_value());
  EXPECT_EQ(table_.Renew(id, At(24)).code(), Code::kNotFound) << "ended, though nobody has collected it yet";
  EXPECT_EQ(table_.TakeExpired(At(24))->id, id);
}

TEST_F(LeaseTableTest, PrivateBlocksNeedALivePrivateLease) {
  std::vector<EntryRef> pins = {{{0, Key(1)}, 5}};
  const LeaseId prefix = table_.OpenPrefix(pins, 0, At(0)).value(), own = table_.OpenPrivate(0, At(0)).value();
  EXPECT_EQ(table_.AddPrivateBlock(prefix, Key(2), At(0)).code(), Code::kInvalidArgument);
  EXPECT_EQ(table_.AddPrivateBlock(999, Key(2), At(0)).code(), Code::kNotFound);
  EXPECT_TRUE(table_.AddPrivateBlock(own, Key(2), At(9)).ok());
  EXPECT_EQ(table_.AddPrivateBlock(own, Key(3), At(10)).code(), Code::kNotFound);
  EXPECT_EQ(table_.CheckPrivate(own, At(10)).code(), Code::kNotFound);
  EXPECT_EQ(table_.Take(own)->private_blocks, std::vector<BlockKey>{Key(2)});
}

TEST_F(LeaseTableTest, BoundsLeasesAndBlocksAndForgetsWhatEnded) {
  std::vector<EntryRef> pins(4, {{0, Key(1)}, 5});
  const LeaseId first = table_.OpenPrefix(pins, 0, At(0)).value();
  std::vector<EntryRef> more(1, {{0, Key(1)}, 5});
  EXPECT_EQ(table_.OpenPrefix(more, 0, At(0)).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(more.size(), 1u);
  const LeaseId own = table_.OpenPrivate(0, At(0)).value();
  EXPECT_EQ(table_.AddPrivateBlock(own, Key(2), At(0)).code(), Code::kResourceExhausted);
  table_.Take(first);
  EXPECT_TRUE(table_.AddPrivateBlock(own, Key(2), At(0)).ok());
  ASSERT_TRUE(table_.OpenPrivate(0, At(0)).ok());
  ASSERT_TRUE(table_.OpenPrivate(0, At(0)).ok());
  EXPECT_EQ(table_.OpenPrivate(0, At(0)).status().code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace slimfill::kvstore
