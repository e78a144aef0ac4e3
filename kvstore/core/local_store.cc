#include "kvstore/core/local_store.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/metric_names.h"
#include "base/status.h"
#include "kvstore/api/block_key.h"
#include "kvstore/api/transfer_metrics.h"

namespace slimfill::kvstore {
namespace {

constexpr uint64_t kMinMemoryBytes = 64 * 1024;

const char* WhyNothingGoes(bool could_fit, bool may_evict) {
  if (!could_fit) return "the block alone is too large";
  return may_evict ? "all is leased or being read" : "nothing is evicted for a block whose parent is not stored";
}

void Count(std::atomic<uint64_t>& counter, uint64_t by = 1) { counter.fetch_add(by, std::memory_order_relaxed); }

}  // namespace

absl::Status PendingValue::Append(absl::Span<const std::byte> bytes) {
  if (bytes.size() > size() - written()) {
    return absl::InvalidArgumentError(absl::StrCat("the value grows past the ", size(), " bytes announced for it: ",
                                                   written(), " are written, ", bytes.size(), " more came"));
  }
  writer_.Append(bytes, buffer_.bytes().subspan(written(), bytes.size()));
  return absl::OkStatus();
}

absl::Status PendingValue::AppendVerified(absl::Span<const absl::Span<const std::byte>> pieces, uint64_t checksum) {
  const uint64_t offset = written();
  uint64_t bytes = 0;
  for (const absl::Span<const std::byte> piece : pieces) bytes += piece.size();
  // Bytes that begin a page and do not leave it have the checksum that is computed for the page as they are copied.
  const bool of_page = bytes > 0 && offset % kChecksumPageBytes == 0 && bytes <= kChecksumPageBytes;
  ChecksummedCopy separate(key_.key, offset);
  for (const absl::Span<const std::byte> piece : pieces) {
    SLIMFILL_RETURN_IF_ERROR(Append(piece));
    if (!of_page) separate.Append(piece, {});
  }
  if ((of_page ? writer_.LastPageDigest() : separate.Digest()) == checksum) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the checksum of the bytes from ", offset, " of block ", ToHex(key_.key),
                                          " does not hold: send the block again"));
}

absl::StatusOr<std::unique_ptr<LocalKvStore>> LocalKvStore::Create(const LocalStoreOptions& options, const Clock& clock,
                                                                   Metrics* metrics) {
  if (options.memory_bytes < kMinMemoryBytes) {
    return absl::InvalidArgumentError(absl::StrCat("KV store memory of ", options.memory_bytes,
                                                   " bytes is below the minimum of ", kMinMemoryBytes,
                                                   ": raise --memory"));
  }
  if (options.tenant_bytes > options.memory_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("a tenant's share of ", options.tenant_bytes,
                                                   " bytes is more than the KV store's ", options.memory_bytes,
                                                   ": lower --tenant-memory or raise --memory"));
  }
  if (options.lease_ttl < absl::Milliseconds(1)) {
    return absl::InvalidArgumentError(absl::StrCat("lease time to live of ", absl::FormatDuration(options.lease_ttl),
                                                   " is below the minimum of 1ms: raise --lease-ttl"));
  }
  SLIMFILL_ASSIGN_OR_RETURN(std::shared_ptr<Arena> arena, Arena::Create(options.memory_bytes, options.shared_memory));
  return std::unique_ptr<LocalKvStore>(new LocalKvStore(options, std::move(arena), clock, metrics));
}

LocalKvStore::LocalKvStore(const LocalStoreOptions& options, std::shared_ptr<Arena> arena, const Clock& clock,
                           Metrics* metrics)
    : options_(options),
      clock_(clock),
      metrics_(metrics),
      arena_(std::move(arena)),
      tenants_(options.tenant_bytes),
      leases_({options.lease_ttl, options.max_leases, options.max_leased_blocks}) {
  if (metrics_ != nullptr) metrics_->Set(metric::kKvStoreBytes, static_cast<double>(options.memory_bytes), {"limit"});
  RecordGauges();
}

absl::StatusOr<PrefixMatch> LocalKvStore::MatchPrefix(absl::Span<const BlockKey> keys, absl::Time deadline) {
  return MatchPrefixIn(/*session=*/0, keys, deadline);
}

absl::StatusOr<PrefixMatch> LocalKvStore::MatchPrefixIn(SessionId session, absl::Span<const BlockKey> keys,
                                                        absl::Time deadline) {
  SLIMFILL_RETURN_IF_ERROR(CheckKeys(keys.size(), options_.limits));
  const absl::Time now = clock_.Now();
  if (now >= deadline) return DeadlineExpired();
  EndExpiredLeases(now);
  std::vector<EntryRef> pins;
  for (const BlockKey& key : keys) {
    std::optional<EntryRef> pin = index_.Pin(key);
    if (!pin.has_value()) break;
    pins.push_back(*std::move(pin));
  }
  PrefixMatch match;
  if (pins.empty()) return match;
  match.blocks = static_cast<int64_t>(pins.size());
  absl::StatusOr<LeaseId> lease = leases_.OpenPrefix(pins, session, now);
  if (!lease.ok()) {
    for (const EntryRef& pin : pins) index_.Unpin(pin);
    return lease.status();
  }
  match.lease = *lease;
  RecordGauges();
  return match;
}

absl::StatusOr<LeaseId> LocalKvStore::OpenPrivate(absl::Time deadline) {
  return OpenPrivateIn(/*session=*/0, deadline);
}

absl::StatusOr<LeaseId> LocalKvStore::OpenPrivateIn(SessionId session, absl::Time deadline) {
  const absl::Time now = clock_.Now();
  if (now >= deadline) return DeadlineExpired();
  EndExpiredLeases(now);
  absl::StatusOr<LeaseId> lease = leases_.OpenPrivate(session, now);
  RecordGauges();
  return lease;
}

absl::StatusOr<std::vector<absl::Status>> LocalKvStore::Put(absl::Span<const PutItem> items, LeaseId lease,
                                                            absl::Time deadline) {
  SLIMFILL_RETURN_IF_ERROR(CheckPut(items, options_.limits));
  const absl::Time start = clock_.Now();
  if (start >= deadline) return DeadlineExpired();
  std::vector<absl::Status> statuses;
  statuses.reserve(items.size());
  uint64_t bytes = 0;
  for (const PutItem& item : items) {
    statuses.push_back(clock_.Now() < deadline ? PutOne(item, lease) : DeadlineExpired());
    if (statuses.back().ok()) bytes += ValueBytes(item);
  }
  RecordTransfer(metrics_, "put", path(), bytes, clock_.Now() - start);
  RecordGauges();
  return statuses;
}

absl::StatusOr<std::vector<absl::Status>> LocalKvStore::Fetch(absl::Span<const FetchItem> items, LeaseId lease,
                                                              absl::Time deadline) {
  SLIMFILL_RETURN_IF_ERROR(CheckFetch(items, options_.limits));
  const absl::Time start = clock_.Now();
  if (start >= deadline) return DeadlineExpired();
  std::vector<absl::Status> statuses;
  statuses.reserve(items.size());
  uint64_t bytes = 0;
  EndExpiredLeases(start);
  ReadCounts counts;
  for (const FetchItem& item : items) {
    statuses.push_back(clock_.Now() < deadline ? FetchItemNow(item, lease, counts) : DeadlineExpired());
    if (statuses.back().ok()) bytes += item.destination.size();
  }
  Record(counts);
  RecordTransfer(metrics_, "fetch", path(), bytes, clock_.Now() - start);
  return statuses;
}

absl::Status LocalKvStore::Renew(LeaseId lease, absl::Time deadline) {
  const absl::Time now = clock_.Now();
  if (now >= deadline) return DeadlineExpired();
  EndExpiredLeases(now);
  return leases_.Renew(lease, now);
}

void LocalKvStore::Release(LeaseId lease) {
  if (std::optional<Lease> ended = leases_.Take(lease)) DropHoldings(*ended);
  EndExpiredLeases(clock_.Now());
  RecordGauges();
}

void LocalKvStore::EndSession(SessionId session) {
  while (std::optional<Lease> ended = leases_.TakeOfSession(session)) DropHoldings(*ended);
  RecordGauges();
}

absl::StatusOr<StoreStats> LocalKvStore::Stats(absl::Time deadline) {
  const absl::Time now = clock_.Now();
  if (now >= deadline) return DeadlineExpired();
  EndExpiredLeases(now);
  RecordGauges();
  return StoreStats{.bytes_used = arena_->used_bytes(),
                    .bytes_limit = arena_->limit_bytes(),
                    .blocks = index_.size(),
                    .leases = leases_.size(),
                    .evictions = evictions_,
                    .hits = hits_,
                    .misses = misses_,
                    .puts = puts_,
                    .puts_refused = puts_refused_};
}

absl::StatusOr<PendingValue> LocalKvStore::Reserve(const NewValue& value, LeaseId lease) {
  SLIMFILL_RETURN_IF_ERROR(CallBudget("Put", options_.limits).AddItem(value.bytes));
  const absl::Time now = clock_.Now();
  EndExpiredLeases(now);
  if (lease != 0) SLIMFILL_RETURN_IF_ERROR(leases_.CheckPrivate(lease, now));
  const IndexKey index_key{lease, value.key};
  if (index_.Find(index_key).has_value()) {
    return absl::AlreadyExistsError(absl::StrCat("block ", ToHex(value.key), " is stored and keeps its value"));
  }
  const bool has_parent = lease == 0 && value.parent != BlockKey{};
  ParentLink link;
  if (has_parent) link = index_.LinkParent(value.parent);
  // A block without its parent cannot be matched: it may have free room, but nothing useful goes for its sake.
  const bool may_evict = !has_parent || link || value.parent_is_coming;
  const uint64_t tenant = lease == 0 ? value.tenant : 0;
  SLIMFILL_ASSIGN_OR_RETURN(Index::Ownership ownership, TakeShareEvicting(tenant, value.bytes, may_evict));
  SLIMFILL_ASSIGN_OR_RETURN(Buffer buffer, AllocateEvicting(value.bytes, may_evict));
  return PendingValue(index_key, has_parent ? value.parent : BlockKey{}, std::move(link), std::move(ownership),
                      std::move(buffer));
}

absl::StatusOr<Buffer> LocalKvStore::AllocateEvicting(uint64_t bytes, bool may_evict) {
  const bool could_fit = Arena::Charge(bytes) <= options_.memory_bytes;
  while (true) {
    if (std::optional<Buffer> buffer = arena_->TryAllocate(bytes)) return *std::move(buffer);
    if (!could_fit || !may_evict || !index_.EvictOne()) break;
    CountEviction();
  }
  return Refused(absl::StrCat("no room for a block of ", bytes, " bytes: ", arena_->used_bytes(), " of ",
                              options_.memory_bytes, " bytes are in use and ", WhyNothingGoes(could_fit, may_evict),
                              ": raise --memory or release leases"));
}

absl::StatusOr<Index::Ownership> LocalKvStore::TakeShareEvicting(uint64_t tenant, uint64_t bytes, bool may_evict) {
  if (tenant == 0 || options_.tenant_bytes == 0) return Index::Ownership{};
  const uint64_t charge = Arena::Charge(bytes);
  const bool could_fit = charge <= options_.tenant_bytes;
  while (true) {
    if (std::optional<TenantShare> share = tenants_.TryTake(tenant, charge)) {
      return Index::Ownership{tenant, *std::move(share)};
    }
    if (!could_fit || !may_evict || !index_.EvictOneOf(tenant)) break;
    CountEviction();
  }
  return Refused(absl::StrCat("no room for a block of ", bytes, " bytes in its tenant's share: ",
                              tenants_.bytes_of(tenant), " of ", options_.tenant_bytes, " bytes are in use and ",
                              WhyNothingGoes(could_fit, may_evict), ": raise --tenant-memory or release leases"));
}

void LocalKvStore::CountEviction() {
  Count(evictions_);
  if (metrics_ != nullptr) metrics_->Add(metric::kKvEvictions);
}

absl::Status LocalKvStore::Refused(absl::string_view why) {
  Count(puts_refused_);
  if (metrics_ != nullptr) metrics_->Add(metric::kKvPutsRefused);
  return absl::ResourceExhaustedError(why);
}

absl::Status LocalKvStore::Publish(PendingValue value) {
  SLIMFILL_CHECK(value.written() == value.size());
  const LeaseId owner = value.key_.owner;
  const BlockKey key = value.key_.key;
  auto stored = std::make_shared<const Value>(key, std::move(value.buffer_), value.writer_.Finish());
  // The parent may have been published since.
  if (!value.parent_ && value.parent_key_ != BlockKey{}) value.parent_ = index_.LinkParent(value.parent_key_);
  if (!index_.Insert(value.key_, std::move(stored), std::move(value.parent_), std::move(value.ownership_))) {
    return absl::OkStatus();
  }
  if (owner != 0) {
    // The lease may have ended while the value was written, and then nobody else will ever remove it.
    absl::Status added = leases_.AddPrivateBlock(owner, key, clock_.Now());
    if (!added.ok()) {
      index_.Remove(value.key_);
      return added;
    }
  }
  Count(puts_);
  if (metrics_ != nullptr) metrics_->Add(metric::kKvPuts);
  return absl::OkStatus();
}

absl::Status LocalKvStore::PutOne(const PutItem& item, LeaseId lease) {
  absl::StatusOr<PendingValue> pending = Reserve({item.key, item.parent, ValueBytes(item), item.tenant}, lease);
  if (absl::IsAlreadyExists(pending.status())) return absl::OkStatus();
  SLIMFILL_RETURN_IF_ERROR(pending.status());
  for (absl::Span<const std::byte> part : item.parts) SLIMFILL_RETURN_IF_ERROR(pending->Append(part));
  return Publish(*std::move(pending));
}

absl::StatusOr<Index::Found> LocalKvStore::Find(const BlockKey& key, LeaseId lease, ReadCounts& counts) {
  std::optional<Index::Found> found;
  if (lease != 0) found = index_.Find({lease, key});
  if (!found.has_value()) found = index_.Find({0, key});
  if (found.has_value()) return *std::move(found);
  ++counts.misses;
  return absl::NotFoundError(absl::StrCat("block ", ToHex(key), " is not stored"));
}

absl::StatusOr<LocalKvStore::Whole> LocalKvStore::ReadWhole(const BlockKey& key) {
  std::optional<Index::Found> found = index_.Find({0, key});
  if (!found.has_value()) return absl::NotFoundError(absl::StrCat("block ", ToHex(key), " is not stored"));
  const absl::StatusOr<absl::Span<const std::byte>> bytes = found->value->Read(0, found->value->size());
  ReadCounts counts;
  const absl::Status status = Settle(bytes.status(), *found, counts);
  Record({.corrupt = counts.corrupt});  // no client asked: neither a hit nor a miss
  SLIMFILL_RETURN_IF_ERROR(status);
  return Whole{{std::move(found->value), *bytes}, found->parent, found->tenant};
}

absl::Status LocalKvStore::Settle(const absl::Status& status, const Index::Found& found, ReadCounts& counts) {
  if (status.ok()) ++counts.hits;
  if (absl::IsDataLoss(status)) {
    ++counts.corrupt;
    index_.RemoveExactly(found.ref);
  }
  return status;
}

void LocalKvStore::Record(const ReadCounts& counts) {
  Count(hits_, counts.hits);
  Count(misses_, counts.misses);
  if (metrics_ == nullptr) return;
  if (counts.hits > 0) metrics_->Add(metric::kKvFetchHits, {}, static_cast<double>(counts.hits));
  if (counts.misses > 0) metrics_->Add(metric::kKvFetchMisses, {}, static_cast<double>(counts.misses));
  if (counts.corrupt > 0) metrics_->Add(metric::kKvCorruptBlocks, {}, static_cast<double>(counts.corrupt));
}

absl::StatusOr<ValueRange> LocalKvStore::Read(const BlockKey& key, uint64_t offset, uint64_t length, LeaseId lease,
                                              bool receiver_verifies) {
  EndExpiredLeases(clock_.Now());
  ReadCounts counts;
  const absl::Cleanup record = [&] { Record(counts); };
  SLIMFILL_ASSIGN_OR_RETURN(Index::Found found, Find(key, lease, counts));
  const Value& value = *found.value;
  const absl::StatusOr<absl::Span<const std::byte>> bytes = receiver_verifies && value.IsWholePages(offset, length)
                                                                ? value.ReadUnverified(offset, length)
                                                                : value.Read(offset, length);
  SLIMFILL_RETURN_IF_ERROR(Settle(bytes.status(), found, counts));
  return ValueRange{std::move(found.value), *bytes};
}

std::vector<absl::StatusOr<std::shared_ptr<const Value>>> LocalKvStore::Locate(absl::Span<const Range> ranges,
                                                                               LeaseId lease) {
  EndExpiredLeases(clock_.Now());
  ReadCounts counts;
  std::vector<absl::StatusOr<std::shared_ptr<const Value>>> values;
  values.reserve(ranges.size());
  for (const Range& range : ranges) {
    absl::StatusOr<Index::Found> found = Find(range.key, lease, counts);
    absl::Status status = found.status();
    if (status.ok()) status = Settle(found->value->CheckRange(range.offset, range.length), *found, counts);
    if (status.ok()) {
      values.push_back(std::move(found->value));
    } else {
      values.push_back(std::move(status));
    }
  }
  Record(counts);
  return values;
}

absl::Status LocalKvStore::FetchItemNow(const FetchItem& item, LeaseId lease, ReadCounts& counts) {
  SLIMFILL_ASSIGN_OR_RETURN(const Index::Found found, Find(item.key, lease, counts));
  return Settle(found.value->CopyTo(item.offset, item.destination), found, counts);
}

std::vector<absl::Status> LocalKvStore::Delete(absl::Span<const BlockKey> keys) {
  EndExpiredLeases(clock_.Now());
  std::vector<absl::Status> statuses(keys.size());
  for (size_t i = keys.size(); i-- > 0;) statuses[i] = index_.RemoveIfIdle(keys[i]);  // children before their parents
  RecordGauges();
  return statuses;
}

void LocalKvStore::EndExpiredLeases(absl::Time now) {
  while (std::optional<Lease> ended = leases_.TakeExpired(now)) DropHoldings(*ended);
}

void LocalKvStore::DropHoldings(const Lease& lease) {
  for (const EntryRef& pin : lease.pins) index_.Unpin(pin);
  for (const BlockKey& key : lease.private_blocks) index_.Remove({lease.id, key});
}

void LocalKvStore::RecordGauges() {
  if (metrics_ == nullptr) return;
  metrics_->Set(metric::kKvStoreBytes, static_cast<double>(arena_->used_bytes()), {"used"});
  metrics_->Set(metric::kKvLeases, static_cast<double>(leases_.size()));
}

}  // namespace slimfill::kvstore
