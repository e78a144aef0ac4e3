#include "kvstore/core/value.h"

#include "gtest/gtest.h"
#include "kvstore/api/checksum.h"
#include "kvstore/api/checksummed_copy.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

constexpr uint64_t kPage = kChecksumPageBytes;

Value MakeValue(const std::vector<std::byte>& bytes) {
  Buffer buffer = *Arena::Create(1 << 20).value()->TryAllocate(bytes.size());
  PagedWriter writer(Key(1));
  writer.Append(bytes, buffer.bytes());
  return Value(Key(1), std::move(buffer), writer.Finish());
}

TEST(Value, ReadsAnyRange) {
  const std::vector<std::byte> bytes = Bytes(1, 2 * kPage + 10);
  const Value value = MakeValue(bytes);
  for (uint64_t offset : {uint64_t{0}, kPage - 1, kPage, 2 * kPage + 9}) {
    for (uint64_t length : {uint64_t{0}, uint64_t{1}, bytes.size() - offset}) {
      const absl::Span<const std::byte> expected = absl::MakeConstSpan(bytes).subspan(offset, length);
      EXPECT_EQ(*value.Read(offset, length), expected);
      std::vector<std::byte> copied(length);
      EXPECT_TRUE(value.CopyTo(offset, absl::MakeSpan(copied)).ok());
      EXPECT_EQ(absl::MakeConstSpan(copied), expected);
    }
  }
}

TEST(Value, RefusesRangesOutside) {
  const Value value = MakeValue(Bytes(1, 100));
  EXPECT_EQ(value.Read(0, 101).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(value.Read(101, 0).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(value.Read(1, ~uint64_t{0}).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(Value, FlippedBitFailsExactlyTheRangesOfItsPage) {
  const Value value = MakeValue(Bytes(1, 3 * kPage));
  const_cast<std::byte&>(value.Read(kPage + 5, 1)->front()) ^= std::byte{0x80};
  EXPECT_TRUE(value.Read(0, kPage).ok());
  EXPECT_TRUE(value.Read(2 * kPage, kPage).ok());
  EXPECT_EQ(value.Read(0, kPage + 1).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(value.Read(2 * kPage - 1, 2).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace slimfill::kvstore
