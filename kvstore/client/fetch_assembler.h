// Puts the chunks of a Fetch stream together and trusts none of them: an item is OK only once all its bytes have come,
// in their place, with checksums that hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kvstore/api/checksummed_copy.h"
#include "kvstore/api/kv_store.h"
#include "kvstore/wire/chunk_wire.h"

namespace slimfill::kvstore {

// Not thread safe.
class FetchAssembler {
 public:
  explicit FetchAssembler(absl::Span<const FetchItem> items) : items_(items), settled_(items.size()) {}

  // A chunk, whose bytes then come in pieces. DATA_LOSS when the stream breaks its own rules: nothing after it can be
  // trusted, cancel the call.
  absl::Status BeginChunk(const ChunkFields& chunk);
  void AppendBytes(absl::Span<const std::byte> bytes);  // REQUIRES: no more than the chunk is to have
  // REQUIRES: all its bytes have come.
  void EndChunk();

  // The store's answer to an item that it does not send. DATA_LOSS as in BeginChunk.
  absl::Status AcceptFailure(uint64_t ordinal, int code, absl::string_view message);

  // For a stream that ended well: DATA_LOSS when items are missing or came with wrong bytes.
  absl::Status CheckComplete() const;

  // One status per item; items without a result get `rest`.
  std::vector<absl::Status> Finish(const absl::Status& rest) const;

  bool anything_settled() const { return settled_items_ > 0; }
  uint64_t received_bytes() const { return received_bytes_; }  // of items with status OK

 private:
  const FetchItem& OpenItem() const { return items_[chunk_.ordinal]; }
  void Settle(size_t ordinal, absl::Status status);

  const absl::Span<const FetchItem> items_;
  std::vector<std::optional<absl::Status>> settled_;
  ChunkFields chunk_;            // the one being received, or the last one of the item that is: received_ > 0
  ChecksummedCopy copy_{{}, 0};  // of the chunk's bytes
  uint64_t received_ = 0;        // bytes of the item
  bool corrupt_ = false;         // one of the item's checksums did not hold
  size_t settled_items_ = 0;
  size_t corrupt_items_ = 0;
  uint64_t received_bytes_ = 0;
};

}  // namespace slimfill::kvstore
