#include "kvstore/client/fetch_wire.h"

#include <string>

#include "base/status.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "kvstore/wire/chunk_wire.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr uint32_t Tag(int field, WireFormatLite::WireType type) { return WireFormatLite::MakeTag(field, type); }

constexpr uint32_t kFailuresTag =
    Tag(v1::FetchResponse::kFailuresFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr uint32_t kChunksTag = Tag(v1::FetchResponse::kChunksFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);

absl::Status Malformed() { return absl::DataLossError("the KV store's stream is broken: a message is malformed"); }

absl::Status ReadChunk(CodedInputStream& in, FetchAssembler& assembler) {
  int length;
  if (!ReadLength(in, &length)) return Malformed();
  const CodedInputStream::Limit outer = in.PushLimit(length);
  ChunkFields header;
  if (!ReadChunkHeader(in, &header)) return Malformed();
  SLIMFILL_RETURN_IF_ERROR(assembler.BeginChunk(header));
  const auto append = [&](absl::Span<const std::byte> piece) { assembler.AppendBytes(piece); };
  if (!ReadPieces(in, header.bytes, append)) return Malformed();
  assembler.EndChunk();
  in.PopLimit(outer);
  return absl::OkStatus();
}

absl::Status ReadFailure(CodedInputStream& in, FetchAssembler& assembler) {
  int length;
  std::string bytes;
  v1::ItemStatus failure;
  if (!ReadLength(in, &length) || !in.ReadString(&bytes, length) || !failure.ParseFromString(bytes)) {
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
