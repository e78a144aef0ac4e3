// Cuts the values of a Put into messages: large values into several, small ones together. A message is what protobuf
// would write, made in one pass that copies the values' bytes and computes their checksums.
//
// The bytes are copied because gRPC may keep what it was given after the call has ended, until the other side reads it
// or the connection breaks, and the caller takes its memory back at the deadline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "grpcpp/support/byte_buffer.h"
#include "kvstore/api/kv_store.h"
#include "kvstore/client/message_memory.h"

namespace slimfill::kvstore {

// Not thread safe. Borrows the items.
class PutMessages {
 public:
  // `message_bytes`: the most data bytes of a message.
  PutMessages(absl::Span<const PutItem> items, LeaseId lease, uint64_t message_bytes)
      : items_(items), lease_(lease), message_bytes_(message_bytes) {}

  // Makes the next message; false when everything has been said.
  bool Next(grpc::ByteBuffer* request);
  bool done() const { return item_ == items_.size(); }

 private:
  struct Piece {
    size_t item;
    uint64_t offset, bytes;  // of its value
  };

  // The pieces of the next message: none crosses a page of kChecksumPageBytes, so that the store has no other checksums
  // to compute than those that it keeps.
  std::vector<Piece> Plan();
  std::byte* Announce(const PutItem& item, std::byte* at) const;
  std::byte* AddChunk(const Piece& piece, std::byte* at);
  // The item's next bytes, from as many parts as it takes; returns their checksum.
  uint64_t Gather(const Piece& piece, std::byte* to);

  const absl::Span<const PutItem> items_;
  const LeaseId lease_;
  const uint64_t message_bytes_;
  MessageMemory memory_;
  size_t item_ = 0;       // the first item that is not planned yet
  uint64_t planned_ = 0;  // bytes of it that are
  size_t part_ = 0;       // of the item that is being copied: its current part
  size_t part_sent_ = 0;  // bytes of that
};

}  // namespace slimfill::kvstore
