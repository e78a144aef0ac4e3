// The L2 on Redis or Valkey: a cluster, or one server. Values lie in chunks (sealed_value.h) under kv:{KEY}:CHUNK with
// a time to live; a batch goes to all nodes at once, each over one connection without waiting between commands.
//
// Redirects (MOVED, ASK) are followed, and the map of slots is renewed behind the calls: by a thread of its own, when a
// node fails or redirects, and now and then. A node that keeps failing is left alone for a while: its keys miss at
// once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "kvstore/api/circuit_breaker.h"
#include "kvstore/l2/chunk_command.h"
#include "kvstore/l2/l2_address.h"
#include "kvstore/l2/l2_store.h"
#include "kvstore/l2/redis_connection.h"
#include "kvstore/l2/sealed_value.h"
#include "kvstore/l2/slot_map.h"

namespace slimfill::kvstore {

struct RedisOptions {
  L2Address address;
  TlsFiles tls;                // of rediss://
  std::string user, password;  // empty: none
  std::optional<SealKey> key;  // none: values are not encrypted
  absl::Duration ttl = absl::Hours(24);
  CircuitBreaker::Options breaker;
  absl::Duration max_call_time = absl::Seconds(30);           // for calls with a later deadline, or none
  absl::Duration map_timeout = absl::Seconds(1);              // for one node to tell the map
  absl::Duration map_interval = absl::Seconds(30);            // between renewals without a reason
  absl::Duration map_min_interval = absl::Milliseconds(200);  // between those with one
};

class RedisCluster final : public L2Store {
 public:
  // Does not wait for the servers: until they are reached, calls fail. INVALID_ARGUMENT for files that cannot be used.
  // `clock` and `metrics` (may be null) outlive the store.
  static absl::StatusOr<std::unique_ptr<RedisCluster>> Create(const RedisOptions& options, const Clock& clock,
                                                              Metrics* metrics);
  ~RedisCluster() override;

  std::vector<absl::StatusOr<L2Entry>> Find(absl::Span<const BlockKey> keys, absl::Time deadline) override;
  std::vector<absl::Status> Get(absl::Span<const L2Read> items, absl::Time deadline) override;
  std::vector<absl::Status> Put(absl::Span<const L2Write> items, absl::Time deadline) override;

 private:
  struct Topology {
    std::vector<std::shared_ptr<RedisNode>> masters;
    std::vector<int16_t> owner;
  };

  RedisCluster(const RedisOptions& options, std::unique_ptr<TlsClient> tls, const Clock& clock, Metrics* metrics);

  // Runs the commands to their end, following redirects: afterwards all have an answer and a status.
  void Run(std::vector<ChunkCommand>& commands, absl::Time system_deadline);
  // One exchange with every node that `commands` name; afterwards all have an answer.
  void RunOnce(const std::vector<ChunkCommand*>& commands, absl::Time system_deadline);
  // Points a command that was redirected to its next node; false when it has come to its end.
  bool Follow(ChunkCommand& command);
  void Report(RedisNode& node, CircuitBreaker::Pass pass, const absl::Status& status);

  absl::Time SystemDeadline(absl::Time deadline) const;

  // The map; waits for the first one, or for the first failure to get it. UNAVAILABLE when there is none.
  absl::StatusOr<std::shared_ptr<const Topology>> AwaitTopology(absl::Time system_deadline);
  std::shared_ptr<RedisNode> NodeAt(const ListenAddress& address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WantNewMap();
  // The thread: renews the map and tries nodes that were given up, so that no call has to wait for them.
  void KeepMap();
  void ProbeNodes();
  void RenewMap();
  void TakeMap(const SlotMap& map);
  void NodeChanged(const ListenAddress& address, bool up);
  void SetNodeGauges() ABSL_LOCKS_EXCLUDED(mutex_);

  // A call's statistics: one status per item, bytes of those that are OK.
  void Record(const char* operation, absl::Span<const absl::Status> statuses, uint64_t bytes, absl::Time start);

  const RedisOptions options_;
  const std::unique_ptr<TlsClient> tls_;
  const RedisAccess access_;
  const ValueSealer sealer_;
  const Clock& clock_;
  Metrics* const metrics_;

  absl::Mutex mutex_;
  std::shared_ptr<const Topology> topology_ ABSL_GUARDED_BY(mutex_);
  absl::Status map_status_ ABSL_GUARDED_BY(mutex_);  // of the last attempt to get it
  bool map_tried_ ABSL_GUARDED_BY(mutex_) = false;
  bool map_wanted_ ABSL_GUARDED_BY(mutex_) = true;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_map<std::string, std::shared_ptr<RedisNode>> nodes_ ABSL_GUARDED_BY(mutex_);  // by address

  std::thread map_keeper_;
};

}  // namespace slimfill::kvstore
