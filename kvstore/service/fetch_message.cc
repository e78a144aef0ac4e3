#include "kvstore/service/fetch_message.h"

#include <memory>
#include <string>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/wire_format_lite.h"
#include "grpcpp/support/slice.h"

namespace slimfill::kvstore {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

constexpr size_t kSmallestSlice = 4096;  // below, a copy costs less than a slice

constexpr uint32_t kChunkTag =
    WireFormatLite::MakeTag(v1::FetchResponse::kChunksFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr uint32_t kDataTag =
    WireFormatLite::MakeTag(v1::Chunk::kDataFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);

// All of a chunk but its bytes, which come last.
void AppendHeader(const FetchMessage::Piece& piece, std::string* out) {
  v1::Chunk chunk;
  chunk.set_ordinal(piece.ordinal);
  chunk.set_offset(piece.offset);
  chunk.set_checksum(piece.checksum);
  const std::string fields = chunk.SerializeAsString();
  const auto data_bytes = static_cast<uint32_t>(piece.range.bytes.size());
  const size_t data_header = CodedOutputStream::VarintSize32(kDataTag) + CodedOutputStream::VarintSize32(data_bytes);
  google::protobuf::io::StringOutputStream stream(out);
  CodedOutputStream coded(&stream);
  coded.WriteTag(kChunkTag);
  coded.WriteVarint32(static_cast<uint32_t>(fields.size() + data_header + data_bytes));
  coded.WriteString(fields);
  coded.WriteTag(kDataTag);
  coded.WriteVarint32(data_bytes);
}

// Keeps the value until gRPC lets go of the slice.
grpc::Slice SliceOf(const ValueRange& range) {
  auto* owner = new std::shared_ptr<const Value>(range.value);
  return grpc::Slice(
      const_cast<std::byte*>(range.bytes.data()), range.bytes.size(),  // gRPC only reads it
      [](void* value) { delete static_cast<std::shared_ptr<const Value>*>(value); }, owner);
}

}  // namespace

grpc::ByteBuffer Encode(const FetchMessage& message) {
  std::vector<grpc::Slice> slices;
  std::string pending = message.failures.SerializeAsString();
  for (const FetchMessage::Piece& piece : message.pieces) {
    AppendHeader(piece, &pending);
    const absl::Span<const std::byte> bytes = piece.range.bytes;
    if (bytes.size() < kSmallestSlice) {
      pending.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      continue;
    }
    slices.emplace_back(pending);
    pending.clear();
    slices.push_back(SliceOf(piece.range));
  }
  if (!pending.empty()) slices.emplace_back(pending);
  return grpc::ByteBuffer(slices.data(), slices.size());
}

}  // namespace slimfill::kvstore
