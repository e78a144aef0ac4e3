// One FetchResponse as it goes over the wire, without a copy of the blocks' bytes: gRPC is given slices of the store's
// own memory, which stays until the last of them has been sent.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "grpcpp/support/byte_buffer.h"
#include "kvstore/core/local_store.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {

struct FetchMessage {
  // A Chunk: `range.bytes` from `offset` of the value on.
  struct Piece {
    uint32_t ordinal;
    uint64_t offset;
    uint64_t checksum;
    ValueRange range;
  };

  bool empty() const { return failures.failures().empty() && pieces.empty(); }

  v1::FetchResponse failures;  // no chunks
  std::vector<Piece> pieces;
};

// What serialising the same FetchResponse gives, byte for byte.
grpc::ByteBuffer Encode(const FetchMessage& message);

}  // namespace slimfill::kvstore
