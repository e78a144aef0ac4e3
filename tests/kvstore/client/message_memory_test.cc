#include "kvstore/client/message_memory.h"

#include <cstring>
#include <optional>
#include <utility>

#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

TEST(MessageMemory, IsUsedAgainOnceNobodySendsIt) {
  MessageMemory memory;
  MessageMemory::Buffer buffer = memory.Take(1000);
  const std::byte* const first = buffer.data();
  std::optional<grpc::Slice> slice = MessageMemory::ToSlice(std::move(buffer), 10);
  EXPECT_EQ(slice->size(), 10u);
  const MessageMemory::Buffer other = memory.Take(1000);
  std::optional<grpc::Slice> sent = *slice;  // gRPC's share
  slice.reset();
  MessageMemory::Buffer third = memory.Take(1000);
  EXPECT_NE(third.data(), first);
  sent.reset();
  EXPECT_EQ(memory.Take(500).data(), first);
}

TEST(MessageMemory, GrowsWithTheMessages) {
  MessageMemory memory;
  { const grpc::Slice slice = MessageMemory::ToSlice(memory.Take(10), 10); }
  MessageMemory::Buffer buffer = memory.Take(100000);
  std::memset(buffer.data(), 1, 100000);
}

TEST(MessageMemory, LivesAsLongAsItsSlices) {
  std::optional<grpc::Slice> slice;
  {
    MessageMemory memory;
    MessageMemory::Buffer buffer = memory.Take(5);
    std::memcpy(buffer.data(), "12345", 5);
    slice = MessageMemory::ToSlice(std::move(buffer), 5);
  }
  EXPECT_EQ(std::memcmp(slice->begin(), "12345", 5), 0);
}

}  // namespace
}  // namespace slimfill::kvstore
