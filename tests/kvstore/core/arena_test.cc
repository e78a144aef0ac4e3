#include "kvstore/core/arena.h"

#include <utility>

#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

TEST(Arena, ChargesRoundedSizePlusOverhead) {
  EXPECT_EQ(Arena::Charge(1), 64 + Arena::kOverheadBytes);
  EXPECT_EQ(Arena::Charge(64), 64 + Arena::kOverheadBytes);
  EXPECT_EQ(Arena::Charge(100000), 102400 + Arena::kOverheadBytes);
}

TEST(Arena, StopsExactlyAtItsLimit) {
  const auto arena = Arena::Create(2 * Arena::Charge(50000)).value();
  std::optional<Buffer> a = arena->TryAllocate(50000), b = arena->TryAllocate(50000);
  ASSERT_TRUE(a.has_value() && b.has_value());
  EXPECT_EQ(arena->used_bytes(), arena->limit_bytes());
  EXPECT_FALSE(arena->TryAllocate(1).has_value());
  a.reset();
  EXPECT_TRUE(arena->TryAllocate(50000).has_value());
}

TEST(Arena, RefusesSizesThatWouldOverflow) {
  const auto arena = Arena::Create(1 << 20).value();
  EXPECT_FALSE(arena->TryAllocate(~size_t{0}).has_value());
  EXPECT_FALSE(arena->TryAllocate(1 << 20).has_value());
}

TEST(Arena, UsesAFreedBufferAgain) {
  const auto arena = Arena::Create(1 << 20).value();
  std::optional<Buffer> buffer = arena->TryAllocate(50000);
  const std::byte* const first = buffer->bytes().data();
  buffer.reset();
  EXPECT_EQ(arena->used_bytes(), 0u);
  EXPECT_EQ(arena->TryAllocate(50001)->bytes().data(), first);
}

TEST(Arena, SpareBuffersMakeRoomForOtherSizes) {
  const auto arena = Arena::Create(1 << 20).value();
  {
    std::vector<std::optional<Buffer>> small(16);
    for (auto& buffer : small) buffer = arena->TryAllocate(60000);
  }
  std::optional<Buffer> large = arena->TryAllocate(1000000);
  ASSERT_TRUE(large.has_value());
  large->bytes().front() = large->bytes().back() = std::byte{1};
  EXPECT_EQ(large->bytes().size(), 1000000u);
}

TEST(Arena, BufferOutlivesTheArenasOwner) {
  auto arena = Arena::Create(1 << 20).value();
  std::optional<Buffer> buffer = arena->TryAllocate(50000);
  arena.reset();
  buffer->bytes().back() = std::byte{1};
  EXPECT_EQ(buffer->bytes().back(), std::byte{1});
}

TEST(Arena, MovedBufferIsFreedOnce) {
  const auto arena = Arena::Create(1 << 20).value();
  Buffer a = *arena->TryAllocate(100);
  Buffer b = *arena->TryAllocate(40000);
  b = std::move(a);
  EXPECT_EQ(arena->used_bytes(), Arena::Charge(100));
  b = Buffer();
  EXPECT_EQ(arena->used_bytes(), 0u);
}

}  // namespace
}  // namespace slimfill::kvstore
