// The KV store in this process: the embedded default of the server, and the core of slimfill-kvstore.
//
// Life of a block: Reserve finds room for it (WRITING, visible to nobody), Publish makes it readable (READY), eviction,
// deletion or the end of its private lease take it out of the index (DOOMED), and its memory returns to the arena when
// the last reader lets go. No lock is held while bytes are copied or checksummed, so no reader delays a writer.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "kvstore/api/checksummed_copy.h"
#include "kvstore/api/kv_store.h"
#include "kvstore/api/limits.h"
#include "kvstore/core/arena.h"
#include "kvstore/core/index.h"
#include "kvstore/core/leases.h"
#include "kvstore/core/value.h"

namespace slimfill::kvstore {

struct LocalStoreOptions {
  // Values, rounded up to whole pages, and Arena::kOverheadBytes for each.
  uint64_t memory_bytes = uint64_t{4} << 30;
  bool shared_memory = false;  // other processes may map the values (slab.h)
  // The most that one tenant's shared blocks may take of it (PutItem::tenant); 0: all.
  uint64_t tenant_bytes = 0;
  absl::Duration lease_ttl = absl::Seconds(10);
  size_t max_leases = 65536;
  size_t max_leased_blocks = 262144;
  KvLimits limits;
};

// A value on its way into the store. Move only; dropping it gives its room back.
class PendingValue {
 public:
  // Appends the next bytes. INVALID_ARGUMENT when they are more than were announced.
  absl::Status Append(absl::Span<const std::byte> bytes);
  // Appends bytes that come in pieces with their Checksum. DATA_LOSS when it does not hold: the value is spoilt then.
  absl::Status AppendVerified(absl::Span<const absl::Span<const std::byte>> pieces, uint64_t checksum);
  // For bytes that arrive in place: the room that is left, and how much of its front has been filled since.
  absl::Span<std::byte> Unwritten() const { return buffer_.bytes().subspan(written()); }
  void MarkWritten(uint64_t bytes) { writer_.Append(Unwritten().first(bytes), {}); }
  uint64_t written() const { return writer_.written(); }
  uint64_t size() const { return buffer_.bytes().size(); }

 private:
  friend class LocalKvStore;
  PendingValue(IndexKey key, const BlockKey& parent_key, ParentLink parent, Index::Ownership ownership, Buffer buffer)
      : key_(std::move(key)),
        parent_key_(parent_key),
        parent_(std::move(parent)),
        ownership_(std::move(ownership)),
        buffer_(std::move(buffer)),
        writer_(key_.key) {}

  IndexKey key_;
  BlockKey parent_key_;  // all zero for none
  ParentLink parent_;
  Index::Ownership ownership_;
  Buffer buffer_;
  PagedWriter writer_;
};

// A range of a stored value. Its bytes stay as long as it does, whatever happens to the block.
struct ValueRange {
  std::shared_ptr<const Value> value;
  absl::Span<const std::byte> bytes;
};

class LocalKvStore final : public KvStore {
 public:
  // INVALID_ARGUMENT for options out of range. `clock` and `metrics` (may be null) outlive the store.
  static absl::StatusOr<std::unique_ptr<LocalKvStore>> Create(const LocalStoreOptions& options, const Clock& clock,
                                                              Metrics* metrics);

  absl::StatusOr<PrefixMatch> MatchPrefix(absl::Span<const BlockKey> keys, absl::Time deadline) override;
  absl::StatusOr<LeaseId> OpenPrivate(absl::Time deadline) override;
  absl::StatusOr<std::vector<absl::Status>> Put(absl::Span<const PutItem> items, LeaseId lease,
                                                absl::Time deadline) override;
  absl::StatusOr<std::vector<absl::Status>> Fetch(absl::Span<const FetchItem> items, LeaseId lease,
                                                  absl::Time deadline) override;
  absl::Status Renew(LeaseId lease, absl::Time deadline) override;
  void Release(LeaseId lease) override;
  absl::StatusOr<StoreStats> Stats(absl::Time deadline) override;
  const char* path() const override { return "embedded"; }

  // The steps that Put and Fetch are made of, for callers whose bytes come and go in pieces.

  // Room for a value under a shared (lease 0) or private key. ALREADY_EXISTS when the key is present;
  // RESOURCE_EXHAUSTED when what could be evicted is not enough.
  struct NewValue {
    BlockKey key;
    BlockKey parent;
    uint64_t bytes = 0;
    uint64_t tenant = 0;
    // The caller publishes the parent before it: room may be made for the value although its parent is not there yet.
    bool parent_is_coming = false;
  };
  absl::StatusOr<PendingValue> Reserve(const NewValue& value, LeaseId lease);
  // Reserve, copy and Publish in one; OK for a key that is present.
  absl::Status PutOne(const PutItem& item, LeaseId lease);
  // REQUIRES: value.written() == value.size(). OK as well when another writer was faster.
  absl::Status Publish(PendingValue value);
  // NOT_FOUND, OUT_OF_RANGE, DATA_LOSS as in Fetch. `receiver_verifies`: a range of whole pages is not read here,
  // because its receiver compares it with the value's checksums.
  absl::StatusOr<ValueRange> Read(const BlockKey& key, uint64_t offset, uint64_t length, LeaseId lease,
                                  bool receiver_verifies = false);
  // Values that have the ranges, not verified: for readers in other processes, who do that themselves. One answer per
  // range: NOT_FOUND, OUT_OF_RANGE.
  struct Range {
    BlockKey key;
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  std::vector<absl::StatusOr<std::shared_ptr<const Value>>> Locate(absl::Span<const Range> ranges, LeaseId lease);

  // MatchPrefix and OpenPrivate whose leases end with the session, too.
  absl::StatusOr<PrefixMatch> MatchPrefixIn(SessionId session, absl::Span<const BlockKey> keys, absl::Time deadline);
  absl::StatusOr<LeaseId> OpenPrivateIn(SessionId session, absl::Time deadline);
  void EndSession(SessionId session);

  // A shared value as a whole, verified, with its parent (all zero for none). Counts neither as a hit nor as a miss.
  // NOT_FOUND, DATA_LOSS as in Fetch.
  struct Whole {
    ValueRange range;
    BlockKey parent;
    uint64_t tenant = 0;
  };
  absl::StatusOr<Whole> ReadWhole(const BlockKey& key);

  // Removes shared blocks that are neither leased nor followed by others; a chain may be given front to back. One
  // status per key: NOT_FOUND, FAILED_PRECONDITION when in use.
  std::vector<absl::Status> Delete(absl::Span<const BlockKey> keys);

  const LocalStoreOptions& options() const { return options_; }
  const Slab& slab() const { return arena_->slab(); }
  // Shared blocks that leave the store.
  RemovalFeed& removals() { return removals_; }

 private:
  LocalKvStore(const LocalStoreOptions& options, std::shared_ptr<Arena> arena, const Clock& clock, Metrics* metrics);

  // What the reads of one call came to; counted once, for a call may have thousands.
  struct ReadCounts {
    uint64_t hits = 0, misses = 0, corrupt = 0;
  };

  // Says NOT_FOUND for a miss.
  absl::StatusOr<Index::Found> Find(const BlockKey& key, LeaseId lease, ReadCounts& counts);
  // What came of reading a found value: counts it, and drops it when its bytes have changed. Returns `status`.
  absl::Status Settle(const absl::Status& status, const Index::Found& found, ReadCounts& counts);
  void Record(const ReadCounts& counts);

  absl::StatusOr<Buffer> AllocateEvicting(uint64_t bytes, bool may_evict);
  // The tenant's share for a shared block, at the cost of its own other blocks only.
  absl::StatusOr<Index::Ownership> TakeShareEvicting(uint64_t tenant, uint64_t bytes, bool may_evict);
  void CountEviction();
  absl::Status Refused(absl::string_view why);
  absl::Status FetchItemNow(const FetchItem& item, LeaseId lease, ReadCounts& counts);
  void EndExpiredLeases(absl::Time now);
  void DropHoldings(const Lease& lease);
  void RecordGauges();

  const LocalStoreOptions options_;
  const Clock& clock_;
  Metrics* const metrics_;
  const std::shared_ptr<Arena> arena_;
  TenantUsage tenants_;
  RemovalFeed removals_;
  Index index_{&removals_};
  LeaseTable leases_;
  std::atomic<uint64_t> evictions_{0};
  std::atomic<uint64_t> hits_{0};
  std::atomic<uint64_t> misses_{0};
  std::atomic<uint64_t> puts_{0};
  std::atomic<uint64_t> puts_refused_{0};
};

}  // namespace slimfill::kvstore
