// One Fetch call: the sequence of its response messages. Looks a block up when its turn comes and holds it until its
// message is sent, so that a slow client keeps little memory from being used again.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvstore/api/checksum.h"
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
  FetchSession(LocalKvStore& store, const v1::FetchRequest& request, uint32_t message_bytes,
               std::vector<LocalKvStore::Range> ranges)
      : store_(&store),
        lease_(request.lease()),
        receiver_verifies_(!request.verify() && message_bytes >= kChecksumPageBytes),
        message_bytes_(message_bytes),
        ranges_(std::move(ranges)) {}

  // How long the next piece of the current range would be, if there were room: up to the end of its page of the value.
  uint64_t NextPieceBytes() const;
  // The next piece of the current range, at most `room` bytes; returns how many.
  uint64_t AddPiece(uint64_t room, FetchMessage* message);

  LocalKvStore* store_;
  LeaseId lease_;
  bool receiver_verifies_;  // whole pages, against the checksums that they were stored with
  uint32_t message_bytes_;
  std::vector<LocalKvStore::Range> ranges_;
  size_t next_ = 0;     // the current range
  uint64_t sent_ = 0;   // bytes of it
  ValueRange current_;  // its bytes, while some are left
  uint64_t sent_bytes_ = 0;
};

}  // namespace slimfill::kvstore
