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
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "kvstore/l2/chunk_command.h"
#include "kvstore/l2/cluster_map.h"
#include "kvstore/l2/l2_address.h"
#include "kvstore/l2/l2_store.h"
#include "kvstore/l2/redis_connection.h"
#include "kvstore/l2/sealed_value.h"

namespace slimfill::kvstore {

struct RedisOptions {
  L2Address address;
  TlsFiles tls;                // of rediss://
  std::string user, password;  // empty: none
  std::optional<SealKey> key;  // none: values are not encrypted
  absl::Duration ttl = absl::Hours(24);
  ClusterMapOptions map;
  absl::Duration max_call_time = absl::Seconds(30);  // for calls with a later deadline, or none
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
  RedisCluster(const RedisOptions& options, std::unique_ptr<TlsClient> tls, const Clock& clock, Metrics* metrics);

  // Runs the commands to their end, following redirects: afterwards all have an answer and a status.
  void Run(std::vector<ChunkCommand>& commands, absl::Time system_deadline);
  // One exchange with every node that `commands` name; afterwards all have an answer.
  void RunOnce(const std::vector<ChunkCommand*>& commands, absl::Time system_deadline);
  // Points a command that was redirected to its next node; false when it has come to its end.
  bool Follow(ChunkCommand& command);

  absl::Time SystemDeadline(absl::Time deadline) const;

  // A call's statistics: one status per item, bytes of those that are OK.
  void Record(const char* operation, absl::Span<const absl::Status> statuses, uint64_t bytes, absl::Time start);

  const RedisOptions options_;
  const std::unique_ptr<TlsClient> tls_;
  const RedisAccess access_;
  const ValueSealer sealer_;
  const Clock& clock_;
  Metrics* const metrics_;
  ClusterMap map_;
};

}  // namespace slimfill::kvstore
