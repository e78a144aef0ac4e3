// The KV store as the engine sees it: a bounded map from block keys to byte values, in host RAM, in this process or in
// another. Whatever is stored can be recomputed, so every failure may be served as a miss, never as wrong bytes, and no
// call blocks past its deadline.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace slimfill::kvstore {

// A 256-bit key made by a SHA-256 chain (kvstore/api/block_key.h); opaque to the store.
struct BlockKey {
  std::array<uint8_t, 32> bytes{};
  friend bool operator==(const BlockKey&, const BlockKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const BlockKey& key) {
    return H::combine_contiguous(std::move(h), key.bytes.data(), key.bytes.size());
  }
};

// Names a lease: while it is held (and renewed within its time to live) the blocks it covers are not evicted.
// 0 is "no lease". An id is meaningless to every store but the one that made it, and after that store restarts.
using LeaseId = uint64_t;

struct PrefixMatch {
  int64_t blocks = 0;  // how many leading keys are present and readable
  LeaseId lease = 0;   // covers them; 0 when blocks == 0
};

struct PutItem {
  BlockKey key;
  BlockKey parent;  // the previous block of the prefix chain; all zero for none. Evicted only after its children.
  std::vector<absl::Span<const std::byte>> parts;  // the value, in order; borrowed until Put returns
  uint64_t tenant = 0;                             // whose share of the store it takes; only told apart, never shown
};

struct FetchItem {
  BlockKey key;
  uint64_t offset = 0;                // byte range [offset, offset + destination.size()) of the value
  absl::Span<std::byte> destination;  // has the bytes when the item's status is OK, and anything otherwise
};

struct StoreStats {
  uint64_t bytes_used = 0;
  uint64_t bytes_limit = 0;
  uint64_t blocks = 0;
  uint64_t leases = 0;
  uint64_t evictions = 0;
  uint64_t hits = 0;    // fetched items found
  uint64_t misses = 0;  // fetched items not found
  uint64_t puts = 0;
  uint64_t puts_refused = 0;  // no room: everything left is leased
};

// Thread safe. Implementations: core/local_store.h (in process), client/grpc_kv_store.h (another process).
// Errors common to all calls: DEADLINE_EXCEEDED, UNAVAILABLE (store gone or circuit breaker open: fails at once),
// INVALID_ARGUMENT (too many or too large items). None leaves anything half done that a reader could see.
class KvStore {
 public:
  virtual ~KvStore() = default;

  // Longest prefix of `keys` whose values are all present, pinned under one new lease that the caller must Release.
  virtual absl::StatusOr<PrefixMatch> MatchPrefix(absl::Span<const BlockKey> keys, absl::Time deadline) = 0;

  // An empty lease for a request's private blocks: pass it to Put. Released, its blocks are deleted.
  virtual absl::StatusOr<LeaseId> OpenPrivate(absl::Time deadline) = 0;

  // Stores values; a key that is present already keeps its value. With `lease` (from OpenPrivate) the blocks belong to
  // that lease alone; with 0 they are shared and evictable. One status per item; RESOURCE_EXHAUSTED when there is no
  // room.
  virtual absl::StatusOr<std::vector<absl::Status>> Put(absl::Span<const PutItem> items, LeaseId lease,
                                                        absl::Time deadline) = 0;

  // Reads ranges of values. One status per item: NOT_FOUND for a miss, OUT_OF_RANGE for a bad range, DATA_LOSS when the
  // checksum of the value does not hold (the value is dropped). `lease` may be 0 for shared blocks.
  virtual absl::StatusOr<std::vector<absl::Status>> Fetch(absl::Span<const FetchItem> items, LeaseId lease,
                                                          absl::Time deadline) = 0;

  // Extends the lease's time to live; NOT_FOUND when it has run out.
  virtual absl::Status Renew(LeaseId lease, absl::Time deadline) = 0;

  // Gives a lease back; unknown ones are ignored. Never fails: a lost lease runs out by itself.
  virtual void Release(LeaseId lease) = 0;

  virtual absl::StatusOr<StoreStats> Stats(absl::Time deadline) = 0;

  // "embedded" or "grpc": the `path` label of metrics.
  virtual const char* path() const = 0;
};

}  // namespace slimfill::kvstore
