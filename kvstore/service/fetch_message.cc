#include "kvstore/service/fetch_message.h"

#include <memory>
#include <string>

#include "grpcpp/support/slice.h"
#include "kvstore/wire/chunk_wire.h"

namespace slimfill::kvstore {
namespace {

constexpr size_t kSmallestSlice = 4096;  // below, a copy costs less than a slice

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
    const absl::Span<const std::byte> bytes = piece.range.bytes;
    AppendChunkHeader(v1::FetchResponse::kChunksFieldNumber,
                      {piece.ordinal, piece.offset, piece.checksum, bytes.size()}, &pending);
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
