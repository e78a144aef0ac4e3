// How slimfill.v1.Chunk lies on the wire, for those who move its bytes without protobuf, which would copy them once
// more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "google/protobuf/io/coded_stream.h"

namespace slimfill::kvstore {

// All of a chunk but its data.
struct ChunkFields {
  uint64_t ordinal = 0;  // of the item; 32 bits on the wire
  uint64_t offset = 0;   // in its value
  uint64_t checksum = 0;
  uint64_t bytes = 0;  // of data, which follows
};

// The longest header, with the tag and the length that go before it in a message.
constexpr size_t kMaxChunkHeaderBytes = 64;

// Appends what goes before the data of a chunk in a message whose chunks are its field `field`.
void AppendChunkHeader(int field, const ChunkFields& fields, std::string* out);

// The same written to `out`, for a checksum that is known only when the data behind the header has been copied: returns
// the header's bytes. REQUIRES: kMaxChunkHeaderBytes of room.
size_t WriteChunkHeader(int field, const ChunkFields& fields, std::byte* out);
// Puts the checksum into a header of `header_bytes` that WriteChunkHeader wrote to `out` for `data_bytes` of data.
void PatchChecksum(uint64_t checksum, uint64_t data_bytes, size_t header_bytes, std::byte* out);

// Reads a chunk, whose tag and length have been read, up to its data: at the data, whose length is all that `in`'s
// limit leaves. False when the fields do not come in the order of their numbers, or there are others, or no data.
bool ReadChunkHeader(google::protobuf::io::CodedInputStream& in, ChunkFields* fields);

// Calls take(piece) for the `bytes` that follow, as they lie in `in`'s memory. False when there are fewer.
bool ReadPieces(google::protobuf::io::CodedInputStream& in, uint64_t bytes,
                absl::FunctionRef<void(absl::Span<const std::byte>)> take);

// The length that goes before a field of bytes. False when it is no length that a message can have.
bool ReadLength(google::protobuf::io::CodedInputStream& in, int* length);

}  // namespace slimfill::kvstore
