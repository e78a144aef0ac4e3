// A KV store in another process, over gRPC. Every call ends by its deadline; while the store is away calls fail at once
// (circuit breaker), and they work again by themselves when it is back, with what it then has. What arrives is verified
// before anyone sees it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "kvstore/api/circuit_breaker.h"
#include "kvstore/api/kv_store.h"
#include "kvstore/api/limits.h"
#include "kvstore/api/mutual_tls.h"

namespace slimfill::kvstore {

struct GrpcStoreOptions {
  absl::Duration max_call_time = absl::Seconds(30);  // for calls with a later deadline, or none
  absl::Duration release_time = absl::Seconds(1);    // a Release that takes longer is given up: the lease runs out
  uint32_t message_bytes = 1 << 20;                  // data in one message
  int max_pending_releases = 256;
  std::optional<MutualTls> tls;  // nothing: plain text
  CircuitBreaker::Options breaker;
  KvLimits limits;
};

class GrpcKvStore final : public KvStore {
 public:
  // `address`: HOST:PORT or unix:PATH. Does not connect yet, so the store may come up later. INVALID_ARGUMENT for a
  // malformed address. `clock` and `metrics` (may be null) outlive the store.
  static absl::StatusOr<std::unique_ptr<GrpcKvStore>> Create(const std::string& address,
                                                             const GrpcStoreOptions& options, const Clock& clock,
                                                             Metrics* metrics);
  ~GrpcKvStore() override;  // waits for releases under way, at most release_time

  absl::StatusOr<PrefixMatch> MatchPrefix(absl::Span<const BlockKey> keys, absl::Time deadline) override;
  absl::StatusOr<LeaseId> OpenPrivate(absl::Time deadline) override;
  absl::StatusOr<std::vector<absl::Status>> Put(absl::Span<const PutItem> items, LeaseId lease,
                                                absl::Time deadline) override;
  // When the stream breaks half way, items that arrived are OK and the others carry the stream's error; when nothing
  // arrived, the call fails as a whole.
  // Items whose bytes are wrong are asked for once more, verified by the store.
  absl::StatusOr<std::vector<absl::Status>> Fetch(absl::Span<const FetchItem> items, LeaseId lease,
                                                  absl::Time deadline) override;
  absl::Status Renew(LeaseId lease, absl::Time deadline) override;
  void Release(LeaseId lease) override;  // returns at once; the store hears of it soon
  absl::StatusOr<StoreStats> Stats(absl::Time deadline) override;
  const char* path() const override { return "grpc"; }

  // What a process of the store's machine needs to map its memory. FAILED_PRECONDITION when the store shares none.
  struct AttachGrant {
    std::string token;
    uint64_t session = 0;
  };
  absl::StatusOr<AttachGrant> Attach(absl::Time deadline);
  // Leases made from now on end with this session of Attach as well; 0 for none.
  void set_session(uint64_t session);

  const KvLimits& limits() const;

 private:
  absl::StatusOr<std::vector<absl::Status>> FetchOnce(absl::Span<const FetchItem> items, LeaseId lease, bool verify,
                                                      absl::Time deadline);

  struct Impl;  // keeps gRPC out of this header
  explicit GrpcKvStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slimfill::kvstore
