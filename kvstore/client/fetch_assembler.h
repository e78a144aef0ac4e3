// Puts the messages of a Fetch stream together and trusts none of them: a destination is written only once all bytes of
// its item have come, in their place, with checksums that hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kvstore/api/kv_store.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {

// Not thread safe. Beside the destinations it holds at most one item's bytes.
class FetchAssembler {
 public:
  explicit FetchAssembler(absl::Span<const FetchItem> items) : items_(items), settled_(items.size()) {}

  // DATA_LOSS when the stream breaks its own rules: nothing after it can be trusted, cancel the call.
  absl::Status Accept(const v1::FetchResponse& response);

  // For a stream that ended well: DATA_LOSS when items are missing or came with wrong bytes.
  absl::Status CheckComplete() const;

  // One status per item; items without a result get `rest`.
  std::vector<absl::Status> Finish(const absl::Status& rest) const;

  bool anything_settled() const { return settled_items_ > 0; }
  uint64_t received_bytes() const { return received_bytes_; }  // of items with status OK

 private:
  absl::Status AcceptFailure(const v1::ItemStatus& failure);
  absl::Status AcceptChunk(const v1::Chunk& chunk);
  void Keep(const FetchItem& item, absl::Span<const std::byte> data);
  void Settle(size_t ordinal, absl::Status status);

  const absl::Span<const FetchItem> items_;
  std::vector<std::optional<absl::Status>> settled_;
  size_t open_ = 0;                 // the item that chunks are for: received_ > 0
  uint64_t received_ = 0;           // bytes of it
  bool corrupt_ = false;            // one of its checksums did not hold
  std::vector<std::byte> staging_;  // its bytes, when they come in several chunks
  size_t settled_items_ = 0;
  size_t corrupt_items_ = 0;
  uint64_t received_bytes_ = 0;
};

}  // namespace slimfill::kvstore
