#include "kvstore/wire/chunk_wire.h"

#include <string>
#include <vector>

#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "gtest/gtest.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {
namespace {

using google::protobuf::io::ArrayInputStream;
using google::protobuf::io::CodedInputStream;

std::vector<ChunkFields> SomeChunks() {
  std::vector<ChunkFields> chunks;
  for (const uint64_t number : {uint64_t{0}, uint64_t{1}, uint64_t{127}, uint64_t{128}, uint64_t{0xffffffff}}) {
    for (const uint64_t bytes : {uint64_t{1}, uint64_t{127}, uint64_t{128}, uint64_t{70000}}) {
      chunks.push_back({.ordinal = number, .offset = number << 20, .checksum = number + 1, .bytes = bytes});
    }
  }
  return chunks;
}

v1::Chunk Parsed(const ChunkFields& fields, const std::string& data) {
  v1::Chunk chunk;
  chunk.set_ordinal(static_cast<uint32_t>(fields.ordinal));
  chunk.set_offset(fields.offset);
  chunk.set_checksum(fields.checksum);
  chunk.set_data(data);
  return chunk;
}

TEST(ChunkWire, HeaderIsWhatProtobufWrites) {
  for (const ChunkFields& fields : SomeChunks()) {
    const std::string data(fields.bytes, 'x');
    v1::PutRequest put;
    v1::FetchResponse fetch;
    *put.add_chunks() = *fetch.add_chunks() = Parsed(fields, data);
    std::string header;
    AppendChunkHeader(v1::PutRequest::kChunksFieldNumber, fields, &header);
    EXPECT_LE(header.size(), kMaxChunkHeaderBytes);
    EXPECT_EQ(header + data, put.SerializeAsString());
    header.clear();
    AppendChunkHeader(v1::FetchResponse::kChunksFieldNumber, fields, &header);
    EXPECT_EQ(header + data, fetch.SerializeAsString());
  }
}

TEST(ChunkWire, ChecksumCanComeLater) {
  for (const ChunkFields& fields : SomeChunks()) {
    std::string expected;
    AppendChunkHeader(2, fields, &expected);
    ChunkFields without = fields;
    without.checksum = 0;
    std::byte header[kMaxChunkHeaderBytes];
    const size_t bytes = WriteChunkHeader(2, without, header);
    PatchChecksum(fields.checksum, fields.bytes, bytes, header);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(header), bytes), expected);
  }
}

// Reads one chunk's serialized bytes; where its data begins, or -1.
int ReadHeader(const std::string& bytes, ChunkFields* fields) {
  ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  CodedInputStream in(&stream);
  in.PushLimit(static_cast<int>(bytes.size()));
  return ReadChunkHeader(in, fields) ? in.CurrentPosition() : -1;
}

TEST(ChunkWire, ReadsWhatProtobufWrites) {
  for (const ChunkFields& expected : SomeChunks()) {
    const std::string bytes = Parsed(expected, std::string(expected.bytes, 'x')).SerializeAsString();
    ChunkFields fields;
    EXPECT_EQ(ReadHeader(bytes, &fields), static_cast<int>(bytes.size() - expected.bytes));
    EXPECT_EQ(fields.ordinal, expected.ordinal);
    EXPECT_EQ(fields.offset, expected.offset);
    EXPECT_EQ(fields.checksum, expected.checksum);
    EXPECT_EQ(fields.bytes, expected.bytes);
  }
}

TEST(ChunkWire, ReadsNothingElse) {
  v1::Chunk ordinal_only;
  ordinal_only.set_ordinal(7);
  const std::string data_only = Parsed({}, "data").SerializeAsString(), ordinal = ordinal_only.SerializeAsString();
  ChunkFields fields;
  EXPECT_GE(ReadHeader(ordinal + data_only, &fields), 0);
  for (const std::string& bytes :
       {std::string(), ordinal, data_only + ordinal, ordinal + ordinal + data_only, data_only + "x",
        data_only.substr(0, data_only.size() - 1), std::string("\x20\x01")}) {
    EXPECT_EQ(ReadHeader(bytes, &fields), -1);
  }
}

}  // namespace
}  // namespace slimfill::kvstore
