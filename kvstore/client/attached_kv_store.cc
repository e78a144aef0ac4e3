#include "kvstore/client/attached_kv_store.h"

#include <utility>

#include "base/status.h"
#include "kvstore/api/limits.h"
#include "kvstore/api/transfer_metrics.h"
#include "kvstore/shm/protocol.h"

namespace slimfill::kvstore {
namespace {

using ItemStatuses = ShmConnection::ItemStatuses;

uint64_t BytesOf(const FetchItem& item) { return item.destination.size(); }
uint64_t BytesOf(const PutItem& item) { return ValueBytes(item); }

// The items without an answer.
template <typename Item>
std::vector<Item> Unanswered(absl::Span<const Item> items, const ItemStatuses& statuses) {
  std::vector<Item> left;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!statuses[i].has_value()) left.push_back(items[i]);
  }
  return left;
}

// `rest`: of the items without an answer, in order.
std::vector<absl::Status> Merge(const ItemStatuses& statuses, const absl::StatusOr<std::vector<absl::Status>>& rest) {
  std::vector<absl::Status> merged;
  merged.reserve(statuses.size());
  size_t next = 0;
  for (const std::optional<absl::Status>& status : statuses) {
    merged.push_back(status.has_value() ? *status : rest.ok() ? (*rest)[next++] : rest.status());
  }
  return merged;
}

}  // namespace

AttachedKvStore::AttachedKvStore(std::unique_ptr<GrpcKvStore> store, std::string unix_path, const Options& options,
                                 const Clock& clock, Metrics* metrics)
    : store_(std::move(store)), unix_path_(std::move(unix_path)), options_(options), clock_(clock), metrics_(metrics) {}

absl::StatusOr<std::unique_ptr<ShmConnection>> AttachedKvStore::Attach(absl::Time deadline) {
  SLIMFILL_ASSIGN_OR_RETURN(const GrpcKvStore::AttachGrant grant, store_->Attach(deadline));
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<ShmConnection> connection,
                            ShmConnection::Open(shm::SocketBeside(unix_path_), grant.token, options_.window_bytes,
                                                absl::Now() + (deadline - clock_.Now())));
  store_->set_session(grant.session);
  return connection;
}

std::shared_ptr<ShmConnection> AttachedKvStore::Connection(absl::Time deadline) {
  {
    absl::MutexLock lock(&mutex_);
    if (connection_ != nullptr || attaching_ || clock_.Now() < try_again_) return connection_;
    attaching_ = true;
  }
  absl::StatusOr<std::unique_ptr<ShmConnection>> attached = Attach(deadline);
  absl::MutexLock lock(&mutex_);
  attaching_ = false;
  if (attached.ok()) {
    connection_ = *std::move(attached);
  } else {
    const bool no_memory = absl::IsFailedPrecondition(attached.status()) || absl::IsUnimplemented(attached.status());
    try_again_ = clock_.Now() + (no_memory ? options_.no_memory_pause : options_.attach_pause);
  }
  return connection_;
}

void AttachedKvStore::DropIfBroken(const std::shared_ptr<ShmConnection>& connection) {
  absl::MutexLock lock(&mutex_);
  if (!connection->broken() || connection_ != connection) return;  // another thread did, and may have attached again
  connection_ = nullptr;
  store_->set_session(0);
  try_again_ = clock_.Now() + options_.attach_pause;
}

template <typename Item>
absl::StatusOr<std::vector<absl::Status>> AttachedKvStore::Move(const char* direction, ByMemory<Item> by_memory,
                                                                ByGrpc<Item> by_grpc, absl::Span<const Item> items,
                                                                LeaseId lease, absl::Time deadline) {
  const std::shared_ptr<ShmConnection> connection = items.empty() ? nullptr : Connection(deadline);
  if (connection == nullptr) return ((*store_).*by_grpc)(items, lease, deadline);
  const absl::Time start = clock_.Now();
  if (start >= deadline) return DeadlineExpired();
  const absl::StatusOr<ItemStatuses> statuses =
      ((*connection).*by_memory)(items, lease, absl::Now() + (deadline - start));
  if (!statuses.ok()) {
    DropIfBroken(connection);
    return ((*store_).*by_grpc)(items, lease, deadline);  // a block that was put already keeps its value
  }
  uint64_t bytes = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    if ((*statuses)[i].has_value() && (*statuses)[i]->ok()) bytes += BytesOf(items[i]);
  }
  RecordTransfer(metrics_, direction, path(), bytes, clock_.Now() - start);
  const std::vector<Item> left = Unanswered(items, *statuses);
  return Merge(*statuses, ((*store_).*by_grpc)(left, lease, deadline));
}

absl::StatusOr<std::vector<absl::Status>> AttachedKvStore::Fetch(absl::Span<const FetchItem> items, LeaseId lease,
                                                                 absl::Time deadline) {
  SLIMFILL_RETURN_IF_ERROR(CheckFetch(items, store_->limits()));
  return Move("fetch", &ShmConnection::Fetch, &GrpcKvStore::Fetch, items, lease, deadline);
}

absl::StatusOr<std::vector<absl::Status>> AttachedKvStore::Put(absl::Span<const PutItem> items, LeaseId lease,
                                                               absl::Time deadline) {
  SLIMFILL_RETURN_IF_ERROR(CheckPut(items, store_->limits()));
  return Move("put", &ShmConnection::Put, &GrpcKvStore::Put, items, lease, deadline);
}

absl::StatusOr<PrefixMatch> AttachedKvStore::MatchPrefix(absl::Span<const BlockKey> keys, absl::Time deadline) {
  return store_->MatchPrefix(keys, deadline);
}

absl::StatusOr<LeaseId> AttachedKvStore::OpenPrivate(absl::Time deadline) { return store_->OpenPrivate(deadline); }

absl::Status AttachedKvStore::Renew(LeaseId lease, absl::Time deadline) { return store_->Renew(lease, deadline); }

void AttachedKvStore::Release(LeaseId lease) { store_->Release(lease); }

absl::StatusOr<StoreStats> AttachedKvStore::Stats(absl::Time deadline) { return store_->Stats(deadline); }

}  // namespace slimfill::kvstore
