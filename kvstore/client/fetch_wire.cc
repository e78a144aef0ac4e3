#include "kvstore/client/fetch_wire.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/status.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr uint32_t Tag(int field, WireFormatLite::WireType type) { return WireFormatLite::MakeTag(field, type); }

constexpr uint32_t kFailuresTag =
    Tag(v1::FetchResponse::kFailuresFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr uint32_t kChunksTag = Tag(v1::FetchResponse::kChunksFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr uint32_t kOrdinalTag = Tag(v1::Chunk::kOrdinalFieldNumber, WireFormatLite::WIRETYPE_VARINT);
constexpr uint32_t kOffsetTag = Tag(v1::Chunk::kOffsetFieldNumber, WireFormatLite::WIRETYPE_VARINT);
constexpr uint32_t kChecksumTag = Tag(v1::Chunk::kChecksumFieldNumber, WireFormatLite::WIRETYPE_FIXED64);
constexpr uint32_t kDataTag = Tag(v1::Chunk::kDataFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);

absl::Status Malformed() { return absl::DataLossError("the KV store's stream is broken: a message is malformed"); }

// The fields before the data, and its length. False when the chunk has no data or is malformed.
bool ReadChunkHeader(CodedInputStream& in, FetchAssembler::ChunkHeader* header) {
  uint32_t last_tag = 0;
  while (const uint32_t tag = in.ReadTag()) {
    if (tag <= last_tag) return false;
    last_tag = tag;
    uint32_t number = 0;
    bool read = false;
    if (tag == kOrdinalTag) {
      read = in.ReadVarint32(&number);
      header->ordinal = number;
    } else if (tag == kOffsetTag) {
      read = in.ReadVarint64(&header->offset);
    } else if (tag == kChecksumTag) {
      read = in.ReadLittleEndian64(&header->checksum);
    } else if (tag == kDataTag) {
      if (!in.ReadVarint32(&number)) return false;
      header->bytes = number;
      return true;
    }
    if (!read) return false;
  }
  return false;
}

// The chunk's bytes, slice by slice.
bool ReadData(CodedInputStream& in, uint64_t bytes, FetchAssembler& assembler) {
  while (bytes > 0) {
    const void* data;
    int size;
    if (!in.GetDirectBufferPointer(&data, &size)) return false;
    const int piece = static_cast<int>(std::min<uint64_t>(bytes, static_cast<uint64_t>(size)));
    assembler.AppendBytes(absl::MakeConstSpan(static_cast<const std::byte*>(data), static_cast<size_t>(piece)));
    in.Skip(piece);
    bytes -= static_cast<uint64_t>(piece);
  }
  return true;
}

absl::Status ReadChunk(CodedInputStream& in, FetchAssembler& assembler) {
  uint32_t length;
  if (!in.ReadVarint32(&length) || length > std::numeric_limits<int>::max()) return Malformed();
  const CodedInputStream::Limit outer = in.PushLimit(static_cast<int>(length));
  FetchAssembler::ChunkHeader header;
  if (!ReadChunkHeader(in, &header)) return Malformed();
  if (in.BytesUntilLimit() < 0 || static_cast<uint64_t>(in.BytesUntilLimit()) != header.bytes) return Malformed();
  SLIMFILL_RETURN_IF_ERROR(assembler.BeginChunk(header));
  if (!ReadData(in, header.bytes, assembler)) return Malformed();
  assembler.EndChunk();
  in.PopLimit(outer);
  return absl::OkStatus();
}

absl::Status ReadFailure(CodedInputStream& in, FetchAssembler& assembler) {
  uint32_t length;
  std::string bytes;
  v1::ItemStatus failure;
  if (!in.ReadVarint32(&length) || !in.ReadString(&bytes, static_cast<int>(length)) ||
      !failure.ParseFromString(bytes)) {
    return Malformed();
  }
  return assembler.AcceptFailure(failure.ordinal(), failure.code(), failure.message());
}

}  // namespace

absl::Status ReadFetchResponse(grpc::ByteBuffer& message, FetchAssembler& assembler) {
  grpc::ProtoBufferReader slices(&message);
  if (!slices.status().ok()) return Malformed();
  CodedInputStream in(&slices);
  while (const uint32_t tag = in.ReadTag()) {
    absl::Status status;
    if (tag == kChunksTag) {
      status = ReadChunk(in, assembler);
    } else if (tag == kFailuresTag) {
      status = ReadFailure(in, assembler);
    } else {
      status = WireFormatLite::SkipField(&in, tag) ? absl::OkStatus() : Malformed();
    }
    SLIMFILL_RETURN_IF_ERROR(status);
  }
  return in.ConsumedEntireMessage() ? absl::OkStatus() : Malformed();
}

}  // namespace slimfill::kvstore
