#include "kvstore/api/checksummed_copy.h"

#include <algorithm>
#include <random>

#include "gtest/gtest.h"
#include "kvstore/api/checksum.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

constexpr std::byte kUntouched{0xEE};

// Of all pages of a value.
std::vector<uint64_t> PageChecksums(const BlockKey& key, absl::Span<const std::byte> value) {
  std::vector<uint64_t> checksums;
  for (uint64_t at = 0; at < value.size(); at += kChecksumPageBytes) {
    checksums.push_back(Checksum(key, at, value.subspan(at, kChecksumPageBytes)));
  }
  return checksums;
}

TEST(ChecksummedCopy, AnyPiecesGiveTheSameBytesAndChecksum) {
  std::mt19937 random(5);
  for (const size_t size : {1u, 63u, 4096u, 16384u, 16385u, 70000u}) {
    const std::vector<std::byte> from = Bytes(3, size);
    for (int round = 0; round < 5; ++round) {
      std::vector<std::byte> to(size + 3, kUntouched);
      ChecksummedCopy copy(Key(1), 12345);
      for (size_t at = 0; at < size;) {
        const size_t piece = std::min(size - at, round == 0 ? size : 1 + random() % 30000);
        copy.Append(absl::MakeConstSpan(from).subspan(at, piece), absl::MakeSpan(to).subspan(1 + at, piece));
        at += piece;
      }
      EXPECT_EQ(copy.Digest(), Checksum(Key(1), 12345, from)) << size;
      EXPECT_TRUE(std::equal(from.begin(), from.end(), to.begin() + 1)) << size;
      EXPECT_EQ(to.front(), kUntouched);
      EXPECT_EQ(to[size + 1], kUntouched);
    }
  }
}

TEST(ChecksummedCopy, DoesNotDependOnWhatItsMemoryHeldBefore) {
  alignas(ChecksummedCopy) std::byte memory[sizeof(ChecksummedCopy)];
  const std::vector<std::byte> from = Bytes(3, 1000);
  for (const std::byte before : {std::byte{0}, static_cast<std::byte>(Key(1).bytes[0]), std::byte{0xff}}) {
    BlockKey key;
    key.bytes.fill(static_cast<uint8_t>(before));  // the seed equals what the state may find as the seed before
    std::fill_n(memory, sizeof(memory), before);
    auto* copy = new (memory) ChecksummedCopy(key, 0);
    copy->Append(from, {});
    EXPECT_EQ(copy->Digest(), Checksum(key, 0, from));
  }
}

TEST(ChecksummedCopy, BytesMayBeHashedWithoutACopy) {
  const std::vector<std::byte> from = Bytes(3, 50000);
  std::vector<std::byte> to(10000);
  ChecksummedCopy copy(Key(2), 0);
  copy.Append(absl::MakeConstSpan(from).subspan(0, 20000), {});
  copy.Append(absl::MakeConstSpan(from).subspan(20000, 10000), absl::MakeSpan(to));
  copy.Append(absl::MakeConstSpan(from).subspan(30000), {});
  EXPECT_EQ(copy.Digest(), Checksum(Key(2), 0, from));
  EXPECT_TRUE(std::equal(to.begin(), to.end(), from.begin() + 20000));
}

TEST(PagedWriter, ChecksumsArePerPageHoweverTheBytesCome) {
  for (const size_t size : {size_t{1}, size_t{kChecksumPageBytes}, size_t{3 * kChecksumPageBytes + 5}}) {
    const std::vector<std::byte> value = Bytes(9, size);
    for (const size_t piece : {size_t{1000}, size_t{kChecksumPageBytes}, size}) {
      std::vector<std::byte> to(size);
      PagedWriter writer(Key(4));
      while (writer.written() < size) {
        const size_t at = writer.written(), bytes = std::min(piece, size - at);
        writer.Append(absl::MakeConstSpan(value).subspan(at, bytes), absl::MakeSpan(to).subspan(at, bytes));
      }
      EXPECT_EQ(writer.Finish(), PageChecksums(Key(4), value));
      EXPECT_EQ(to, value);
    }
  }
}

TEST(CopyVerified, FindsEveryChangeInThePagesItTouches) {
  std::vector<std::byte> value = Bytes(7, 2 * kChecksumPageBytes + 100);
  const std::vector<uint64_t> checksums = PageChecksums(Key(1), value);
  const auto copy = [&](uint64_t offset, uint64_t length) {
    std::vector<std::byte> to(length);
    const PageRange pages = PagesOf(offset, length);
    const bool sound = CopyVerified(Key(1), value, absl::MakeConstSpan(checksums).subspan(pages.first, pages.size()),
                                    offset, absl::MakeSpan(to));
    return sound && std::equal(to.begin(), to.end(), value.begin() + static_cast<ptrdiff_t>(offset));
  };
  for (const uint64_t offset : {uint64_t{0}, uint64_t{17}, kChecksumPageBytes, 2 * kChecksumPageBytes + 99}) {
    for (const uint64_t length : {uint64_t{1}, (value.size() - offset) / 2, value.size() - offset}) {
      EXPECT_TRUE(copy(offset, length)) << offset << " " << length;
    }
  }
  EXPECT_TRUE(copy(5, 0));
  value[kChecksumPageBytes] ^= std::byte{1};
  EXPECT_TRUE(copy(0, kChecksumPageBytes));
  EXPECT_FALSE(copy(0, kChecksumPageBytes + 1));
  EXPECT_FALSE(copy(2 * kChecksumPageBytes - 1, 1)) << "the change is elsewhere in the page";
  EXPECT_TRUE(copy(2 * kChecksumPageBytes, 100));
}

}  // namespace
}  // namespace slimfill::kvstore
