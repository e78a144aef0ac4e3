// The open Watch calls: sends each what has left the store, one message at a time, from one thread of its own, so that
// nothing is sent while a lock of the store is held.
#pragma once

#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "kvstore/core/removal_feed.h"
#include "slimfill/v1/kvstore.pb.h"

namespace slimfill::kvstore {

// Thread safe.
class WatchHub {
 public:
  static constexpr size_t kMaxWatchers = 64;
  static constexpr size_t kMaxKeysPerMessage = 1024;

  // `feed` outlives the hub, which is its only reader of news.
  explicit WatchHub(RemovalFeed& feed);
  ~WatchHub();  // REQUIRES: no call is open any more

  // The reactor of a new call, which ends at once when there are too many or the hub has been stopped.
  grpc::ServerWriteReactor<v1::WatchResponse>* Open();

  // Ends all calls with UNAVAILABLE, and those that still come.
  void Stop();

 private:
  class Reactor;

  void Pump();

  RemovalFeed& feed_;
  absl::Mutex mutex_;
  absl::flat_hash_set<Reactor*> reactors_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread pump_;  // last: it uses the others
};

}  // namespace slimfill::kvstore
