// One Fetch call: the sequence of its response messages. Looks a block up when its turn comes and holds it until its
// message is sent, so that a slow client keeps little memory from being used again.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvstore/core/local_store.h"
#include "kvstore/service/fetch_message.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {

// Not thread safe.
class FetchSession {
 public:
  static constexpr uint32_t kDefaultMessageBytes = 1 << 20;
  static constexpr uint32_t kMinMessageBytes = 4 << 10;
  static constexpr uint32_t kMaxMessageBytes = 3 << 20;  // with its headers below gRPC's default limit of 4 MiB

  // INVALID_ARGUMENT when the request breaks a limit.
  static absl::StatusOr<FetchSession> Create(LocalKvStore& store, const v1::FetchRequest& request);

  // Fills the next message; false when all has been said.
  bool Next(FetchMessage* message);

  uint64_t sent_bytes() const { return sent_bytes_; }

 private:
  struct Range {
    BlockKey key;
    uint64_t offset;
    uint64_t length;
  };

  FetchSession(LocalKvStore& store, LeaseId lease, uint32_t message_bytes, std::vector<Range> ranges)
      : store_(&store), lease_(lease), message_bytes_(message_bytes), ranges_(std::move(ranges)) {}

  // The next piece of the current range, at most `room` bytes; returns how many.
  uint64_t AddPiece(uint64_t room, FetchMessage* message);

  LocalKvStore* store_;
  LeaseId lease_;
  uint32_t message_bytes_;
  std::vector<Range> ranges_;
  size_t next_ = 0;     // the current range
  uint64_t sent_ = 0;   // bytes of it
  ValueRange current_;  // its bytes, while some are left
  uint64_t sent_bytes_ = 0;
};

}  // namespace slimfill::kvstore
