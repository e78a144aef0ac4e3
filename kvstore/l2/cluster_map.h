// The nodes of a Redis Cluster and who of them has which slots, kept up to date behind the calls: by a thread of its
// own, when a node fails or redirects, and now and then. It also tries nodes that were given up, so that no call has to
// wait for them.
#pragma once

#include <cstdint>
#include <memory>
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
#include "kvstore/l2/l2_address.h"
#include "kvstore/l2/redis_connection.h"
#include "kvstore/l2/slot_map.h"

namespace slimfill::kvstore {

struct ClusterMapOptions {
  CircuitBreaker::Options breaker;                        // of each node
  absl::Duration reply_time = absl::Seconds(1);           // for one node to tell the map
  absl::Duration interval = absl::Seconds(30);            // between renewals without a reason
  absl::Duration min_interval = absl::Milliseconds(200);  // between those with one
};

// Thread safe.
class ClusterMap {
 public:
  struct Topology {
    std::vector<std::shared_ptr<RedisNode>> masters;
    std::vector<int16_t> owner;  // of each slot: index into masters, or SlotMap::kNobody
  };

  // Begins to ask the nodes of `address`. `access`, `clock` and `metrics` (may be null) outlive the map.
  ClusterMap(const L2Address& address, const RedisAccess& access, const ClusterMapOptions& options, const Clock& clock,
             Metrics* metrics);
  ~ClusterMap();
  ClusterMap(const ClusterMap&) = delete;
  ClusterMap& operator=(const ClusterMap&) = delete;

  // The newest topology; waits for the first one, or for the first failure to get it, which is then the status.
  absl::StatusOr<std::shared_ptr<const Topology>> Await(absl::Time system_deadline);

  // The node that a redirect names; null when there are too many.
  std::shared_ptr<RedisNode> NodeAt(const ListenAddress& address);

  // Something went otherwise than the map says.
  void WantRenewal();

 private:
  std::shared_ptr<RedisNode> NodeLocked(const ListenAddress& address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();        // the thread
  bool AwaitWork();  // false when it is time to stop
  void ProbeNodes();
  void Renew();
  // Whom to ask for the map: nodes that answer, then the seeds.
  std::vector<std::shared_ptr<RedisNode>> Sources();
  void Take(const SlotMap& map);
  void SetStatus(const absl::Status& status);
  void NodeChanged(const ListenAddress& address, bool up);
  void SetGauges() ABSL_LOCKS_EXCLUDED(mutex_);

  const L2Address address_;
  const RedisAccess& access_;
  const ClusterMapOptions options_;
  const Clock& clock_;
  Metrics* const metrics_;

  absl::Mutex mutex_;
  std::shared_ptr<const Topology> topology_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);  // of the last attempt to get it
  bool tried_ ABSL_GUARDED_BY(mutex_) = false;
  bool wanted_ ABSL_GUARDED_BY(mutex_) = true;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_map<std::string, std::shared_ptr<RedisNode>> nodes_ ABSL_GUARDED_BY(mutex_);  // by address

  std::thread keeper_;
};

}  // namespace slimfill::kvstore
