// The L2: a larger, slower and shared place behind the stores' own memory. It outlives them, and what one store has
// written any other finds. Like the KV store itself it may forget anything at any time, so every failure is a miss.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::kvstore {

// What the L2 says of a stored block. Not verified: Get does that.
struct L2Entry {
  uint64_t bytes = 0;     // size of the value
  BlockKey parent;        // the previous block of the prefix chain; all zero for none
  uint64_t tenant = 0;    // whose share of a store it takes (PutItem)
  uint64_t write_id = 0;  // of the Put that stored it: a value is never put together from two of them
};

struct L2Read {
  BlockKey key;
  L2Entry entry;                      // from Find
  absl::Span<std::byte> destination;  // entry.bytes; undefined unless the item's status is OK
};

struct L2Write {
  BlockKey key;
  BlockKey parent;
  uint64_t tenant = 0;
  absl::Span<const std::byte> value;  // borrowed until Put returns
};

// Thread safe. Calls block, at most until their deadline; a status per item, in order. Besides those named below:
// DEADLINE_EXCEEDED, UNAVAILABLE (unreachable, or given up for a while after failures: fails at once),
// PERMISSION_DENIED (wrong password, or commands that the user may not run).
class L2Store {
 public:
  virtual ~L2Store() = default;

  // NOT_FOUND where there is no value, or one that this process cannot read (another version or encryption key).
  virtual std::vector<absl::StatusOr<L2Entry>> Find(absl::Span<const BlockKey> keys, absl::Time deadline) = 0;

  // NOT_FOUND where a part of the value is gone; DATA_LOSS where it is not what was put.
  virtual std::vector<absl::Status> Get(absl::Span<const L2Read> items, absl::Time deadline) = 0;

  // Replaces what is there. RESOURCE_EXHAUSTED where the L2 has no room.
  virtual std::vector<absl::Status> Put(absl::Span<const L2Write> items, absl::Time deadline) = 0;
};

}  // namespace slimfill::kvstore
