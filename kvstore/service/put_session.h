// One Put call: turns its messages into stored blocks. Knows messages but no RPC machinery, so that every order of
// messages can be tested without a network.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kvstore/api/limits.h"
#include "kvstore/core/local_store.h"
#include "kvstore/service/put_message.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {

// Not thread safe. Blocks that are incomplete when the session is destroyed leave no trace.
class PutSession {
 public:
  explicit PutSession(LocalKvStore& store) : store_(store), budget_("Put", store.options().limits) {}

  // INVALID_ARGUMENT ends the call: the stream breaks the protocol or a limit. Blocks completed before stay.
  absl::Status Accept(const PutMessage& message);

  // The client has sent all it wants to send: one status per announced block.
  void Finish(v1::PutResponse* response);

  uint64_t stored_bytes() const { return stored_bytes_; }  // of blocks with status OK

 private:
  using Block = LocalKvStore::NewValue;
  using Pieces = absl::Span<const absl::Span<const std::byte>>;

  absl::Status Announce(const v1::PutBlock& announced);
  absl::Status AcceptChunk(const ChunkFields& chunk, Pieces data);
  absl::Status CheckPlace(const ChunkFields& chunk) const;
  void Store(const Block& block, const ChunkFields& chunk, Pieces data);

  LocalKvStore& store_;
  CallBudget budget_;
  LeaseId lease_ = 0;
  bool first_message_ = true;
  std::vector<Block> blocks_;
  std::vector<absl::Status> statuses_;   // of blocks whose bytes have all arrived; the next one is being received
  uint64_t received_ = 0;                // bytes of the block being received
  std::optional<PendingValue> pending_;  // its room; none when it is stored already or has failed
  absl::Status failure_;                 // why it has failed
  uint64_t stored_bytes_ = 0;
};

}  // namespace slimfill::kvstore
