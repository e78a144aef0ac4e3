// A KV store in another process of this machine, on a unix socket: blocks come and go through memory that both map,
// everything else over gRPC. What shared memory cannot do, gRPC does: a store without it, a block that is not in it, a
// connection that broke. Attaches by itself, and again after the store has been restarted.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "kvstore/api/kv_store.h"
#include "kvstore/client/grpc_kv_store.h"
#include "kvstore/client/shm_connection.h"

namespace slimfill::kvstore {

// Thread safe.
class AttachedKvStore final : public KvStore {
 public:
  struct Options {
    uint64_t window_bytes = uint64_t{32} << 20;         // what is put goes through so much memory
    absl::Duration attach_pause = absl::Seconds(1);     // after an attempt that failed
    absl::Duration no_memory_pause = absl::Minutes(1);  // after the store said that it shares no memory
  };

  // `unix_path`: of the store's socket. `clock` and `metrics` (may be null) outlive this.
  AttachedKvStore(std::unique_ptr<GrpcKvStore> store, std::string unix_path, const Options& options, const Clock& clock,
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
  const char* path() const override { return "shm"; }

 private:
  template <typename Item>
  using ByMemory = absl::StatusOr<ShmConnection::ItemStatuses> (ShmConnection::*)(absl::Span<const Item>, LeaseId,
                                                                                  absl::Time);
  template <typename Item>
  using ByGrpc = absl::StatusOr<std::vector<absl::Status>> (GrpcKvStore::*)(absl::Span<const Item>, LeaseId,
                                                                            absl::Time);
  // By shared memory what goes that way, over gRPC the rest.
  template <typename Item>
  absl::StatusOr<std::vector<absl::Status>> Move(const char* direction, ByMemory<Item> by_memory, ByGrpc<Item> by_grpc,
                                                 absl::Span<const Item> items, LeaseId lease, absl::Time deadline);

  // The connection, made now if it is time to; null when there is none.
  std::shared_ptr<ShmConnection> Connection(absl::Time deadline);
  absl::StatusOr<std::unique_ptr<ShmConnection>> Attach(absl::Time deadline);
  void DropIfBroken(const std::shared_ptr<ShmConnection>& connection);

  const std::unique_ptr<GrpcKvStore> store_;
  const std::string unix_path_;
  const Options options_;
  const Clock& clock_;
  Metrics* const metrics_;

  absl::Mutex mutex_;
  std::shared_ptr<ShmConnection> connection_ ABSL_GUARDED_BY(mutex_);
  bool attaching_ ABSL_GUARDED_BY(mutex_) = false;  // one thread is; the others go by gRPC meanwhile
  absl::Time try_again_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace slimfill::kvstore
