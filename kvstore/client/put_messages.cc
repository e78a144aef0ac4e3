#include "kvstore/client/put_messages.h"

#include <algorithm>
#include <string>

#include "base/status.h"
#include "google/protobuf/wire_format_lite.h"
#include "kvstore/api/checksum.h"
#include "kvstore/api/checksummed_copy.h"
#include "kvstore/api/limits.h"
#include "kvstore/wire/chunk_wire.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

constexpr size_t kMaxLeaseBytes = 16;
constexpr size_t kMaxAnnouncementBytes = 128;

void SetKey(const BlockKey& key, std::string* field) {
  field->assign(reinterpret_cast<const char*>(key.bytes.data()), key.bytes.size());
}

std::byte* WriteLease(LeaseId lease, std::byte* at) {
  if (lease == 0) return at;
  return reinterpret_cast<std::byte*>(
      WireFormatLite::WriteFixed64ToArray(v1::PutRequest::kLeaseFieldNumber, lease, reinterpret_cast<uint8_t*>(at)));
}

}  // namespace

bool PutMessages::Next(grpc::ByteBuffer* request) {
  const std::vector<Piece> pieces = Plan();
  if (pieces.empty()) return false;
  size_t room = kMaxLeaseBytes;
  for (const Piece& piece : pieces) {
    room += piece.bytes + kMaxChunkHeaderBytes + (piece.offset == 0 ? kMaxAnnouncementBytes : 0);
  }
  MessageMemory::Buffer buffer = memory_.Take(room);
  std::byte* at = WriteLease(lease_, buffer.data());
  for (const Piece& piece : pieces) {
    if (piece.offset == 0) at = Announce(items_[piece.item], at);
    at = AddChunk(piece, at);
  }
  const auto written = static_cast<size_t>(at - buffer.data());
  SLIMFILL_CHECK(written <= room);
  const grpc::Slice slice = MessageMemory::ToSlice(std::move(buffer), written);
  *request = grpc::ByteBuffer(&slice, 1);
  return true;
}

std::vector<PutMessages::Piece> PutMessages::Plan() {
  std::vector<Piece> pieces;
  uint64_t room = message_bytes_;
  while (item_ < items_.size() && room > 0) {
    const uint64_t value = ValueBytes(items_[item_]), whole = planned_ == 0 ? value : 0;
    const uint64_t next = std::min(value - planned_, kChecksumPageBytes - planned_ % kChecksumPageBytes);
    // What does not fit any more starts the next message, unless it is longer than any message: a page, or a value.
    if (room < message_bytes_ && (next > room || (whole > room && whole <= message_bytes_))) break;
    pieces.push_back({item_, planned_, std::min(room, next)});
    room -= pieces.back().bytes;
    planned_ += pieces.back().bytes;
    if (planned_ < value) continue;
    ++item_;
    planned_ = 0;
  }
  return pieces;
}

std::byte* PutMessages::Announce(const PutItem& item, std::byte* at) const {
  v1::PutBlock block;
  SetKey(item.key, block.mutable_key());
  if (item.parent != BlockKey{}) SetKey(item.parent, block.mutable_parent());
  block.set_total_bytes(ValueBytes(item));
  block.set_tenant(item.tenant);
  const std::string written = block.SerializeAsString();
  auto* to = reinterpret_cast<uint8_t*>(at);
  to = WireFormatLite::WriteTagToArray(v1::PutRequest::kBlocksFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED,
                                       to);
  to = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(written.size()), to);
  to = CodedOutputStream::WriteStringToArray(written, to);
  return reinterpret_cast<std::byte*>(to);
}

std::byte* PutMessages::AddChunk(const Piece& piece, std::byte* at) {
  const size_t header =
      WriteChunkHeader(v1::PutRequest::kChunksFieldNumber,
                       {.ordinal = piece.item, .offset = piece.offset, .checksum = 0, .bytes = piece.bytes}, at);
  PatchChecksum(Gather(piece, at + header), piece.bytes, header, at);
  return at + header + piece.bytes;
}

uint64_t PutMessages::Gather(const Piece& piece, std::byte* to) {
  const PutItem& item = items_[piece.item];
  if (piece.offset == 0) part_ = part_sent_ = 0;
  ChecksummedCopy copy(item.key, piece.offset);
  for (uint64_t copied = 0; copied < piece.bytes;) {
    const absl::Span<const std::byte> from = item.parts[part_].subspan(part_sent_, piece.bytes - copied);
    copy.Append(from, absl::MakeSpan(to + copied, from.size()));
    copied += from.size();
    part_sent_ += from.size();
    if (part_sent_ < item.parts[part_].size()) continue;
    ++part_;
    part_sent_ = 0;
  }
  return copy.Digest();
}

}  // namespace slimfill::kvstore
