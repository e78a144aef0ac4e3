#include "kvstore/api/stream_copy.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

constexpr std::byte kUntouched{0xEE};

std::vector<std::byte> Numbered(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 131 + (i >> 8));
  return bytes;
}

// Copies `size` bytes from and to the given places and looks at every byte, and at those before and behind.
void CheckCopy(size_t size, size_t from_offset, size_t to_offset) {
  SCOPED_TRACE(testing::Message() << size << " bytes, from +" << from_offset << " to +" << to_offset);
  constexpr size_t kMargin = 256;
  const std::vector<std::byte> source = Numbered(from_offset + size);
  std::vector<std::byte> target(kMargin + to_offset + size + kMargin, kUntouched);
  const auto begin = target.begin() + kMargin + static_cast<std::ptrdiff_t>(to_offset);
  const auto end = begin + static_cast<std::ptrdiff_t>(size);
  StreamCopy(absl::MakeConstSpan(source).subspan(from_offset), absl::MakeSpan(&*begin, size));
  EXPECT_TRUE(std::equal(begin, end, source.begin() + static_cast<std::ptrdiff_t>(from_offset)));
  const auto untouched = [](std::byte byte) { return byte == kUntouched; };
  EXPECT_TRUE(std::all_of(target.begin(), begin, untouched));
  EXPECT_TRUE(std::all_of(end, target.end(), untouched));
}

TEST(StreamCopy, CopiesEverySizeAroundItsThreshold) {
  for (size_t size : {1, 63, 64, 4096, 16383, 16384, 16385, 16447, 16448, 65536, 100001}) CheckCopy(size, 0, 0);
}

TEST(StreamCopy, CopiesBetweenAllPlacesOfACacheLine) {
  for (size_t offset = 0; offset < 64; ++offset) {
    CheckCopy(20000, offset, 0);
    CheckCopy(20000, 0, offset);
    CheckCopy(20000, 63 - offset, offset);
  }
}

TEST(StreamCopy, OfNothingTouchesNothing) {
  StreamCopy({}, {});
  std::byte byte = kUntouched;
  StreamCopy({}, absl::MakeSpan(&byte, 0));
  EXPECT_EQ(byte, kUntouched);
}

}  // namespace
}  // namespace slimfill::kvstore
