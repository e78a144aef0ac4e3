#include "kvstore/service/put_message.h"

#include <string>
#include <utility>

#include "google/protobuf/wire_format_lite.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/support/proto_buffer_reader.h"

namespace slimfill::kvstore {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr uint32_t kLeaseTag =
    WireFormatLite::MakeTag(v1::PutRequest::kLeaseFieldNumber, WireFormatLite::WIRETYPE_FIXED64);
constexpr uint32_t kBlocksTag =
    WireFormatLite::MakeTag(v1::PutRequest::kBlocksFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr uint32_t kChunksTag =
    WireFormatLite::MakeTag(v1::PutRequest::kChunksFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);

bool ReadBlock(CodedInputStream& in, v1::PutBlock* block) {
  int length;
  std::string bytes;
  return ReadLength(in, &length) && in.ReadString(&bytes, length) && block->ParseFromString(bytes);
}

bool ReadLease(CodedInputStream& in, v1::PutRequest* head) {
  uint64_t lease;
  if (!in.ReadLittleEndian64(&lease)) return false;
  head->set_lease(lease);
  return true;
}

}  // namespace

absl::StatusOr<PutMessage> PutMessage::Parse(grpc::ByteBuffer& bytes) {
  PutMessage message;
  if (message.ReadInPlace(bytes)) return message;
  grpc::ByteBuffer copy = bytes;  // of the reference: deserialising consumes it
  v1::PutRequest parsed;
  if (!grpc::SerializationTraits<v1::PutRequest>::Deserialize(&copy, &parsed).ok()) {
    return absl::InvalidArgumentError("the request is not a PutRequest: send one that is encoded as protobuf");
  }
  message = PutMessage();
  message.TakeParsed(std::move(parsed));
  return message;
}

bool PutMessage::ReadInPlace(grpc::ByteBuffer& bytes) {
  grpc::ProtoBufferReader slices(&bytes);
  if (!slices.status().ok()) return false;
  CodedInputStream in(&slices);
  while (const uint32_t tag = in.ReadTag()) {
    const bool read = tag == kChunksTag   ? ReadChunk(in)
                      : tag == kBlocksTag ? ReadBlock(in, head_.add_blocks())
                                          : tag == kLeaseTag && ReadLease(in, &head_);
    if (!read) return false;
  }
  return in.ConsumedEntireMessage();
}

bool PutMessage::ReadChunk(CodedInputStream& in) {
  int length;
  if (!ReadLength(in, &length)) return false;
  const CodedInputStream::Limit outer = in.PushLimit(length);
  Chunk chunk{.first_piece = pieces_.size()};
  if (!ReadChunkHeader(in, &chunk.fields)) return false;
  const bool read =
      ReadPieces(in, chunk.fields.bytes, [this](absl::Span<const std::byte> piece) { pieces_.push_back(piece); });
  if (!read) return false;
  chunk.pieces = pieces_.size() - chunk.first_piece;
  chunks_.push_back(chunk);
  in.PopLimit(outer);
  return true;
}

void PutMessage::TakeParsed(v1::PutRequest parsed) {
  head_ = std::move(parsed);
  for (const v1::Chunk& chunk : head_.chunks()) {
    chunks_.push_back({.fields = {chunk.ordinal(), chunk.offset(), chunk.checksum(), chunk.data().size()},
                       .first_piece = pieces_.size(),
                       .pieces = 1});
    pieces_.emplace_back(reinterpret_cast<const std::byte*>(chunk.data().data()), chunk.data().size());
  }
}

}  // namespace slimfill::kvstore
