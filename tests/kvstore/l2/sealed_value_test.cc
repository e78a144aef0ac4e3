#include "kvstore/l2/sealed_value.h"

#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

SealKey KeyOf(uint8_t first) {
  SealKey key;
  key.bytes[0] = first;
  return key;
}

ChunkPlace PlaceOf(uint32_t chunk = 1) {
  return {.key = Key(7),
          .entry = {.bytes = 3 * kChunkBytes, .parent = Key(6), .write_id = 0x1122334455667788},
          .chunk = chunk};
}

struct Sealed {
  ChunkHeader header;
  std::vector<std::byte> payload;
};

Sealed Seal(const ValueSealer& sealer, const ChunkPlace& place, const std::vector<std::byte>& value) {
  Sealed sealed;
  std::vector<std::byte> buffer;
  const auto payload = sealer.Seal(place, value, &sealed.header, &buffer);
  sealed.payload.assign(payload.begin(), payload.end());
  return sealed;
}

absl::Status Open(const ValueSealer& sealer, const ChunkPlace& place, Sealed sealed,
                  std::vector<std::byte>* value = nullptr) {
  const absl::Status status = sealer.Open(place, sealed.header, absl::MakeSpan(sealed.payload));
  if (value != nullptr) *value = std::move(sealed.payload);
  return status;
}

class SealedValue : public ::testing::TestWithParam<bool> {
 protected:
  const ValueSealer sealer_{GetParam() ? std::optional<SealKey>(KeyOf(1)) : std::nullopt};
  const std::vector<std::byte> value_ = Bytes(3, 500);
};

INSTANTIATE_TEST_SUITE_P(EncryptedOrNot, SealedValue, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Encrypted" : "Checksummed"; });

TEST_P(SealedValue, OpensWhatWasSealed) {
  const Sealed sealed = Seal(sealer_, PlaceOf(), value_);
  EXPECT_EQ(sealed.payload == value_, !GetParam());
  std::vector<std::byte> opened;
  ASSERT_TRUE(Open(sealer_, PlaceOf(), sealed, &opened).ok());
  EXPECT_EQ(opened, value_);
}

TEST_P(SealedValue, EveryFlippedBitIsDataLoss) {
  const Sealed sealed = Seal(sealer_, PlaceOf(), value_);
  for (size_t bit = 0; bit < 8 * (kChunkHeaderBytes + value_.size()); ++bit) {
    Sealed damaged = sealed;
    std::byte& byte =
        bit / 8 < kChunkHeaderBytes ? damaged.header[bit / 8] : damaged.payload[bit / 8 - kChunkHeaderBytes];
    byte ^= std::byte{1} << (bit % 8);
    ASSERT_EQ(Open(sealer_, PlaceOf(), damaged).code(), absl::StatusCode::kDataLoss) << "bit " << bit;
  }
}

TEST_P(SealedValue, EveryTruncationIsDataLoss) {
  const Sealed sealed = Seal(sealer_, PlaceOf(), value_);
  for (size_t size = 0; size < value_.size(); ++size) {
    Sealed cut = sealed;
    cut.payload.resize(size);
    ASSERT_EQ(Open(sealer_, PlaceOf(), cut).code(), absl::StatusCode::kDataLoss) << size;
  }
}

TEST_P(SealedValue, AChunkOpensInItsPlaceOnly) {
  const Sealed sealed = Seal(sealer_, PlaceOf(), value_);
  ChunkPlace other_key = PlaceOf(), other_parent = PlaceOf(), other_size = PlaceOf(), other_write = PlaceOf();
  other_key.key = Key(8);
  other_parent.entry.parent = Key(5);
  other_size.entry.bytes += 1;
  other_write.entry.write_id += 1;
  for (const ChunkPlace& place : {other_key, other_parent, other_size, other_write, PlaceOf(0), PlaceOf(2)}) {
    EXPECT_EQ(Open(sealer_, place, sealed).code(), absl::StatusCode::kDataLoss);
  }
}

TEST_P(SealedValue, ItsHeaderSaysWhatItBelongsTo) {
  const Sealed sealed = Seal(sealer_, PlaceOf(0), value_);
  const L2Entry entry = sealer_.ReadEntry(sealed.header).value();
  EXPECT_EQ(entry.bytes, PlaceOf().entry.bytes);
  EXPECT_EQ(entry.parent, PlaceOf().entry.parent);
  EXPECT_EQ(entry.write_id, PlaceOf().entry.write_id);
}

TEST_P(SealedValue, OtherVersionsKeysAndStringsAreMisses) {
  const Sealed sealed = Seal(sealer_, PlaceOf(0), value_);
  const auto code = [&](const ValueSealer& sealer, absl::Span<const std::byte> header) {
    return sealer.ReadEntry(header).status().code();
  };
  ChunkHeader version = sealed.header, magic = sealed.header;
  version[4] = std::byte{2};
  magic[0] = std::byte{'X'};
  EXPECT_EQ(code(sealer_, version), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(sealer_, magic), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(sealer_, ChunkHeader{}), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(sealer_, absl::MakeConstSpan(sealed.header).first(107)), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(sealer_, {}), absl::StatusCode::kNotFound);
  const ValueSealer other(GetParam() ? std::nullopt : std::optional<SealKey>(KeyOf(1))), third(KeyOf(2));
  for (const ValueSealer* sealer : {&other, &third}) {
    EXPECT_EQ(code(*sealer, sealed.header), absl::StatusCode::kNotFound);
    EXPECT_EQ(Open(*sealer, PlaceOf(0), sealed).code(), absl::StatusCode::kDataLoss);
  }
}

TEST(SealedChunks, CoverAValueOnce) {
  EXPECT_EQ(ChunkCount(1), 1u);
  EXPECT_EQ(ChunkCount(kChunkBytes), 1u);
  EXPECT_EQ(ChunkCount(kChunkBytes + 1), 2u);
  for (const uint64_t bytes : {uint64_t{1}, kChunkBytes - 1, kChunkBytes, kChunkBytes + 1, 5 * kChunkBytes + 17}) {
    uint64_t covered = 0;
    for (uint32_t chunk = 0; chunk < ChunkCount(bytes); ++chunk) {
      EXPECT_EQ(ChunkOffset(chunk), covered);
      EXPECT_GT(ChunkSize(bytes, chunk), 0u);
      covered += ChunkSize(bytes, chunk);
    }
    EXPECT_EQ(covered, bytes);
  }
}

TEST(SealedChunks, NoncesAndCiphertextsDiffer) {
  const ValueSealer sealer(KeyOf(1));
  const std::vector<std::byte> value = Bytes(3, 500);
  const Sealed one = Seal(sealer, PlaceOf(), value), two = Seal(sealer, PlaceOf(), value);
  EXPECT_NE(one.header, two.header);
  EXPECT_NE(one.payload, two.payload);
}

}  // namespace
}  // namespace slimfill::kvstore
