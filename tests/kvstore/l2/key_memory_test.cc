#include "kvstore/l2/key_memory.h"

#include "gtest/gtest.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

constexpr absl::Duration kSpan = absl::Hours(1);
const absl::Time kStart = absl::UnixEpoch();

TEST(KeyMemory, KnowsWhatItWasTold) {
  KeyMemory memory(10, kSpan);
  EXPECT_TRUE(memory.Insert(Key(1), kStart));
  EXPECT_FALSE(memory.Insert(Key(1), kStart));
  EXPECT_TRUE(memory.Insert(Key(2), kStart));
  memory.Erase(Key(1));
  EXPECT_TRUE(memory.Insert(Key(1), kStart));
}

TEST(KeyMemory, KeepsTheNewestAndIsBounded) {
  KeyMemory memory(100, kSpan);
  for (uint32_t id = 0; id < 1000; ++id) EXPECT_TRUE(memory.Insert(Key(id), kStart));
  for (uint32_t id = 900; id < 1000; ++id) EXPECT_FALSE(memory.Insert(Key(id), kStart)) << id;
  EXPECT_TRUE(memory.Insert(Key(100), kStart)) << "long forgotten";
}

TEST(KeyMemory, ForgetsWithTime) {
  KeyMemory memory(100, kSpan);
  memory.Insert(Key(1), kStart);
  EXPECT_FALSE(memory.Insert(Key(1), kStart + kSpan - absl::Seconds(1)));
  EXPECT_FALSE(memory.Insert(Key(1), kStart + kSpan)) << "an old key, still remembered";
  EXPECT_TRUE(memory.Insert(Key(1), kStart + 2 * kSpan));
  memory.Insert(Key(2), kStart + 2 * kSpan);
  EXPECT_TRUE(memory.Insert(Key(2), kStart + 9 * kSpan)) << "nobody asked for a long time";
}

}  // namespace
}  // namespace slimfill::kvstore
