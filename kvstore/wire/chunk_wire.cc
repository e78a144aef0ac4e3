#include "kvstore/wire/chunk_wire.h"

#include <algorithm>
#include <limits>

#include "google/protobuf/wire_format_lite.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

constexpr uint32_t Tag(int field, WireFormatLite::WireType type) { return WireFormatLite::MakeTag(field, type); }

constexpr uint32_t kOrdinalTag = Tag(v1::Chunk::kOrdinalFieldNumber, WireFormatLite::WIRETYPE_VARINT);
constexpr uint32_t kOffsetTag = Tag(v1::Chunk::kOffsetFieldNumber, WireFormatLite::WIRETYPE_VARINT);
constexpr uint32_t kChecksumTag = Tag(v1::Chunk::kChecksumFieldNumber, WireFormatLite::WIRETYPE_FIXED64);
constexpr uint32_t kDataTag = Tag(v1::Chunk::kDataFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);

}  // namespace

size_t WriteChunkHeader(int field, const ChunkFields& fields, std::byte* out) {
  const auto ordinal = static_cast<uint32_t>(fields.ordinal), bytes = static_cast<uint32_t>(fields.bytes);
  size_t size = CodedOutputStream::VarintSize32(kChecksumTag) + sizeof(fields.checksum) +
                CodedOutputStream::VarintSize32(kDataTag) + CodedOutputStream::VarintSize32(bytes);
  if (ordinal != 0) size += CodedOutputStream::VarintSize32(kOrdinalTag) + CodedOutputStream::VarintSize32(ordinal);
  if (fields.offset != 0) {
    size += CodedOutputStream::VarintSize32(kOffsetTag) + CodedOutputStream::VarintSize64(fields.offset);
  }
  auto* const begin = reinterpret_cast<uint8_t*>(out);
  uint8_t* at = CodedOutputStream::WriteTagToArray(Tag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED), begin);
  at = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(size + fields.bytes), at);
  if (ordinal != 0) {
    at = CodedOutputStream::WriteTagToArray(kOrdinalTag, at);
    at = CodedOutputStream::WriteVarint32ToArray(ordinal, at);
  }
  if (fields.offset != 0) {
    at = CodedOutputStream::WriteTagToArray(kOffsetTag, at);
    at = CodedOutputStream::WriteVarint64ToArray(fields.offset, at);
  }
  at = CodedOutputStream::WriteTagToArray(kChecksumTag, at);
  at = CodedOutputStream::WriteLittleEndian64ToArray(fields.checksum, at);
  at = CodedOutputStream::WriteTagToArray(kDataTag, at);
  at = CodedOutputStream::WriteVarint32ToArray(bytes, at);
  return static_cast<size_t>(at - begin);
}

void PatchChecksum(uint64_t checksum, uint64_t data_bytes, size_t header_bytes, std::byte* out) {
  const size_t behind = CodedOutputStream::VarintSize32(kDataTag) +
                        CodedOutputStream::VarintSize32(static_cast<uint32_t>(data_bytes)) + sizeof(checksum);
  CodedOutputStream::WriteLittleEndian64ToArray(checksum, reinterpret_cast<uint8_t*>(out) + header_bytes - behind);
}

void AppendChunkHeader(int field, const ChunkFields& fields, std::string* out) {
  std::byte written[kMaxChunkHeaderBytes];
  const size_t bytes = WriteChunkHeader(field, fields, written);
  out->append(reinterpret_cast<const char*>(written), bytes);
}

bool ReadChunkHeader(CodedInputStream& in, ChunkFields* fields) {
  uint32_t last_tag = 0;
  while (const uint32_t tag = in.ReadTag()) {
    if (tag <= last_tag) return false;
    last_tag = tag;
    uint32_t number = 0;
    bool read = false;
    if (tag == kOrdinalTag) {
      read = in.ReadVarint32(&number);
      fields->ordinal = number;
    } else if (tag == kOffsetTag) {
      read = in.ReadVarint64(&fields->offset);
    } else if (tag == kChecksumTag) {
      read = in.ReadLittleEndian64(&fields->checksum);
    } else if (tag == kDataTag) {
      if (!in.ReadVarint32(&number)) return false;
      fields->bytes = number;
      return in.BytesUntilLimit() >= 0 && static_cast<uint64_t>(in.BytesUntilLimit()) == fields->bytes;
    }
    if (!read) return false;
  }
  return false;
}

bool ReadPieces(CodedInputStream& in, uint64_t bytes, absl::FunctionRef<void(absl::Span<const std::byte>)> take) {
  while (bytes > 0) {
    const void* data;
    int size;
    if (!in.GetDirectBufferPointer(&data, &size)) return false;
    const auto piece = std::min<uint64_t>(bytes, static_cast<uint64_t>(size));
    take(absl::MakeConstSpan(static_cast<const std::byte*>(data), piece));
    in.Skip(static_cast<int>(piece));
    bytes -= piece;
  }
  return true;
}

bool ReadLength(CodedInputStream& in, int* length) {
  uint32_t read;
  if (!in.ReadVarint32(&read) || read > std::numeric_limits<int>::max()) return false;
  *length = static_cast<int>(read);
  return true;
}

}  // namespace slimfill::kvstore
