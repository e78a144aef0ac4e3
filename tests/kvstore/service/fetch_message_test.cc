#include "kvstore/service/fetch_message.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kvstore/service/call_status.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/byte_buffers.h"

namespace slimfill::kvstore {
namespace {

class FetchMessageTest : public ::testing::Test {
 protected:
  static constexpr size_t kLarge = 100000;  // sent as slices of the store's memory
  static constexpr uint64_t kChecksum = 0x1122334455667700;

  void Put(uint32_t id, size_t size) {
    const std::vector<std::byte> value = Bytes(id, size);
    ASSERT_TRUE(store_->Put({Item(Key(id), value)}, 0, absl::InfiniteFuture())->front().ok());
  }
  // All of a block, or what it has from `offset` on, as a chunk with a made-up checksum.
  void Add(uint32_t id, uint64_t offset, uint64_t length) {
    const ValueRange range = store_->Read(Key(id), offset, length, 0).value();
    message_.pieces.push_back({.ordinal = id, .offset = offset, .checksum = kChecksum + id, .range = range});
    v1::Chunk* chunk = expected_.add_chunks();
    chunk->set_ordinal(id);
    chunk->set_offset(offset);
    chunk->set_checksum(kChecksum + id);
    chunk->set_data(range.bytes.data(), range.bytes.size());
  }
  void Fail(uint32_t ordinal) {
    const v1::ItemStatus failure = MakeItemStatus(ordinal, absl::NotFoundError("not stored"));
    *message_.failures.add_failures() = failure;
    *expected_.add_failures() = failure;
  }

  SystemClock clock_;
  std::unique_ptr<LocalKvStore> store_ = LocalKvStore::Create({.memory_bytes = 4 * kLarge}, clock_, nullptr).value();
  FetchMessage message_;
  v1::FetchResponse expected_;
};

TEST_F(FetchMessageTest, IsWhatProtobufWouldWrite) {
  for (const auto& [id, size] : {std::pair<uint32_t, size_t>{0, 1}, {1, 100}, {2, 4095}, {3, 4096}, {4, kLarge}}) {
    Put(id, size);
  }
  Fail(7);
  Fail(8);
  Add(0, 0, 1);
  Add(1, 50, 50);
  Add(4, 0, kLarge);
  Add(2, 0, 4095);
  Add(3, 0, 4096);
  Add(4, 40000, 20000);
  EXPECT_EQ(Flat(Encode(message_)), expected_.SerializeAsString());
}

TEST_F(FetchMessageTest, OfFailuresOrOfOneBlockOrOfNothing) {
  EXPECT_TRUE(message_.empty());
  EXPECT_EQ(Flat(Encode(message_)), "");
  Fail(3);
  EXPECT_FALSE(message_.empty());
  EXPECT_EQ(Flat(Encode(message_)), expected_.SerializeAsString());
  message_ = {};
  expected_ = {};
  Put(1, kLarge);
  Add(1, 0, kLarge);
  EXPECT_FALSE(message_.empty());
  EXPECT_EQ(Flat(Encode(message_)), expected_.SerializeAsString());
}

TEST_F(FetchMessageTest, KeepsTheBytesOfABlockThatIsDeletedAndGivesThemBack) {
  Put(1, kLarge);
  const uint64_t stored = store_->Stats(absl::InfiniteFuture())->bytes_used;
  Add(1, 0, kLarge);
  {
    const grpc::ByteBuffer encoded = Encode(message_);
    message_ = {};
    ASSERT_TRUE(store_->Delete({Key(1)}).front().ok());
    Put(2, kLarge);  // would take its memory
    EXPECT_EQ(Flat(encoded), expected_.SerializeAsString());
  }
  EXPECT_EQ(store_->Stats(absl::InfiniteFuture())->bytes_used, stored);  // of block 2 alone
}

}  // namespace
}  // namespace slimfill::kvstore
