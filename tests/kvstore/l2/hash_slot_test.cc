#include "kvstore/l2/hash_slot.h"

#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

TEST(Crc16, EqualsKnownValues) {
  EXPECT_EQ(Crc16(""), 0);
  EXPECT_EQ(Crc16("123456789"), 0x31C3);  // the check value of CRC-16/XMODEM
  EXPECT_EQ(Crc16("A"), 0x58E5);
  EXPECT_EQ(Crc16(absl::string_view("\0\0", 2)), 0);
}

TEST(HashSlot, EqualsRedisOwn) {
  // CLUSTER KEYSLOT of a Redis 7; redis_cluster_test asks the real one for more.
  EXPECT_EQ(HashSlot("123456789"), 0x31C3);
  EXPECT_EQ(HashSlot("foo"), 12182);
  EXPECT_EQ(HashSlot("bar"), 5061);
  EXPECT_EQ(HashSlot("somekey"), 11058);
}

TEST(HashSlot, OnlyTheFirstTagCountsUnlessItIsEmpty) {
  EXPECT_EQ(HashSlot("foo{hash_tag}"), 2515);
  EXPECT_EQ(HashSlot("bar{hash_tag}"), 2515);
  EXPECT_EQ(HashSlot("{user1000}.following"), HashSlot("user1000"));
  EXPECT_EQ(HashSlot("foo{bar}{zap}"), HashSlot("bar"));
  EXPECT_EQ(HashSlot("foo{{bar}}zap"), HashSlot("{bar"));
  EXPECT_EQ(HashSlot("foo{}{bar}"), Crc16("foo{}{bar}") % kHashSlots);
  EXPECT_EQ(HashSlot("foo{bar"), Crc16("foo{bar") % kHashSlots);
  EXPECT_EQ(HashSlot("foo}bar{"), Crc16("foo}bar{") % kHashSlots);
}

}  // namespace
}  // namespace slimfill::kvstore
