#include "kvstore/service/put_message.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/byte_buffers.h"

namespace slimfill::kvstore {
namespace {

v1::PutRequest TwoBlocks() {
  v1::PutRequest request;
  request.set_lease(77);
  for (uint32_t id : {1, 2}) {
    v1::PutBlock* block = request.add_blocks();
    block->set_key(RawKey(Key(id)));
    block->set_total_bytes(1000 * id);
    v1::Chunk* chunk = request.add_chunks();
    chunk->set_ordinal(id - 1);
    chunk->set_offset(id * 100);
    chunk->set_checksum(id + 5);
    chunk->set_data(std::string(500 * id, static_cast<char>('a' + id)));
  }
  return request;
}

std::string DataOf(const PutMessage& message, size_t chunk) {
  std::string data;
  for (const absl::Span<const std::byte> piece : message.DataOf(message.chunks()[chunk])) {
    data.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  }
  return data;
}

void ExpectTwoBlocks(const PutMessage& message) {
  const v1::PutRequest expected = TwoBlocks();
  EXPECT_EQ(message.head().lease(), 77u);
  ASSERT_EQ(message.head().blocks_size(), 2);
  ASSERT_EQ(message.chunks().size(), 2u);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(message.head().blocks(i).SerializeAsString(), expected.blocks(i).SerializeAsString());
    const ChunkFields& fields = message.chunks()[i].fields;
    EXPECT_EQ(fields.ordinal, expected.chunks(i).ordinal());
    EXPECT_EQ(fields.offset, expected.chunks(i).offset());
    EXPECT_EQ(fields.checksum, expected.chunks(i).checksum());
    EXPECT_EQ(fields.bytes, expected.chunks(i).data().size());
    EXPECT_EQ(DataOf(message, i), expected.chunks(i).data());
  }
}

TEST(PutMessage, IsReadWhereItLiesHoweverItWasCut) {
  const std::string bytes = TwoBlocks().SerializeAsString();
  for (const size_t slice_bytes : {size_t{1}, size_t{2}, size_t{7}, size_t{500}, bytes.size()}) {
    grpc::ByteBuffer buffer = Sliced(bytes, slice_bytes);
    const absl::StatusOr<PutMessage> message = PutMessage::Parse(buffer);
    ASSERT_TRUE(message.ok()) << message.status();
    ExpectTwoBlocks(*message);
    EXPECT_EQ(message->head().chunks_size(), 0) << "it was parsed and copied";
  }
}

TEST(PutMessage, FieldsMayComeInAnyOrderAndThereMayBeMore) {
  v1::PutRequest lease, blocks = TwoBlocks(), chunks = TwoBlocks();
  lease.set_lease(77);
  blocks.clear_lease();
  blocks.clear_chunks();
  chunks.clear_lease();
  chunks.clear_blocks();
  // The second chunk with its data first, as no library known to us writes it.
  const v1::Chunk last = chunks.chunks(1);
  chunks.mutable_chunks()->RemoveLast();
  v1::Chunk data_only;
  data_only.set_data(last.data());
  v1::Chunk rest = last;
  rest.clear_data();
  const std::string odd = data_only.SerializeAsString() + rest.SerializeAsString();
  const std::string odd_header = {'\x1a', static_cast<char>(0x80 | (odd.size() & 0x7f)),
                                  static_cast<char>(odd.size() >> 7)};
  const std::string unknown = "\x7a\x03xyz";
  for (const std::string& bytes :
       {chunks.SerializeAsString() + odd_header + odd + blocks.SerializeAsString() + lease.SerializeAsString(),
        TwoBlocks().SerializeAsString() + unknown, unknown + TwoBlocks().SerializeAsString()}) {
    grpc::ByteBuffer buffer = Sliced(bytes, 100);
    const absl::StatusOr<PutMessage> message = PutMessage::Parse(buffer);
    ASSERT_TRUE(message.ok()) << message.status();
    ExpectTwoBlocks(*message);
  }
}

TEST(PutMessage, EmptyOnesSayNothing) {
  grpc::ByteBuffer buffer = Sliced("", 1);
  const absl::StatusOr<PutMessage> message = PutMessage::Parse(buffer);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->head().blocks_size(), 0);
  EXPECT_TRUE(message->chunks().empty());
}

TEST(PutMessage, WhatIsNoneIsRefused) {
  const std::string whole = TwoBlocks().SerializeAsString();
  for (const std::string& bytes :
       {whole.substr(0, whole.size() - 1), whole + "\x1a", std::string("\x1a\xff\xff\xff\xff"), std::string("nonsense"),
        whole + std::string("\x12\x02\x0a\x50")}) {
    grpc::ByteBuffer buffer = Sliced(bytes, 64);
    EXPECT_EQ(PutMessage::Parse(buffer).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace slimfill::kvstore
