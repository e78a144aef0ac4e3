// Release calls under way, so that giving a lease back never waits for the network.
#pragma once

#include <functional>
#include <memory>

#include "absl/time/time.h"
#include "grpcpp/support/status.h"
#include "kvstore/api/kv_store.h"
#include "slimfill/v1/kvstore.grpc.pb.h"

namespace slimfill::kvstore {

// Thread safe.
class PendingReleases {
 public:
  explicit PendingReleases(int max_pending);
  ~PendingReleases();  // waits until every call has ended, which their deadlines bound: none holds its channel any more

  // `done` runs on a thread of gRPC. When too many calls are under way nothing happens: the lease runs out.
  void Start(v1::KvStoreService::Stub& stub, LeaseId lease, absl::Duration time,
             std::function<void(const grpc::Status&)> done);

 private:
  struct State;
  const int max_pending_;
  const std::shared_ptr<State> state_;  // shared with the calls: the last of them may still hold its mutex
};

}  // namespace slimfill::kvstore
