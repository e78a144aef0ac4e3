#include "kvstore/api/checksum.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

absl::Span<const std::byte> Bytes(const std::string& text) {
  return absl::MakeConstSpan(reinterpret_cast<const std::byte*>(text.data()), text.size());
}

TEST(Checksum, IsXxh3WithSeedFromKeyAndOffset) {
  // The published XXH3-64 of no bytes, seed 0.
  EXPECT_EQ(Checksum(BlockKey{}, 0, {}), 0x2d06800538d394c2u);
  // Only the sum of key and offset seeds the hash.
  BlockKey key;
  key.bytes[0] = 5;
  EXPECT_EQ(Checksum(key, 7, Bytes("payload")), Checksum(BlockKey{}, 12, Bytes("payload")));
}

TEST(Checksum, NoticesEverySingleBitFlip) {
  std::string text(300, 'x');
  const BlockKey key;
  const uint64_t intact = Checksum(key, 0, Bytes(text));
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    text[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    EXPECT_NE(Checksum(key, 0, Bytes(text)), intact) << "bit " << bit;
    text[bit / 8] ^= static_cast<char>(1 << (bit % 8));
  }
}

TEST(Checksum, TellsBlocksAndOffsetsApart) {
  BlockKey other;
  other.bytes[3] = 1;
  const std::string text(100000, 'x');
  EXPECT_NE(Checksum(BlockKey{}, 0, Bytes(text)), Checksum(other, 0, Bytes(text)));
  EXPECT_NE(Checksum(BlockKey{}, 0, Bytes(text)), Checksum(BlockKey{}, 65536, Bytes(text)));
}

}  // namespace
}  // namespace slimfill::kvstore
