// Cuts the values of a Put into messages: large values into several, small ones together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "kvstore/api/kv_store.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {

// Not thread safe. Borrows the items.
class PutMessages {
 public:
  // `message_bytes`: the most data bytes of a message.
  PutMessages(absl::Span<const PutItem> items, LeaseId lease, uint64_t message_bytes)
      : items_(items), lease_(lease), message_bytes_(message_bytes) {}

  // Fills the next message; false when everything has been said.
  bool Next(v1::PutRequest* request);

 private:
  void Announce(const PutItem& item, uint64_t bytes, v1::PutRequest* request);
  uint64_t AddChunk(const PutItem& item, uint64_t bytes, v1::PutRequest* request);
  // The item's next `bytes` bytes, from as many parts as it takes.
  void Gather(const PutItem& item, uint64_t bytes, std::string* data);

  const absl::Span<const PutItem> items_;
  const LeaseId lease_;
  const uint64_t message_bytes_;
  size_t item_ = 0;       // the current item
  uint64_t sent_ = 0;     // bytes of it
  size_t part_ = 0;       // its current part
  size_t part_sent_ = 0;  // bytes of that
};

}  // namespace slimfill::kvstore
