// Tells who listens which shared blocks have left the store. Telling never waits for a listener: one that is too slow
// hears how many it has missed.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::kvstore {

// Thread safe. Outlives its subscriptions.
class RemovalFeed {
 public:
  struct Removals {
    std::vector<BlockKey> keys;  // in the order in which they left
    uint64_t unnamed = 0;        // left as well, after `keys` of this or an earlier answer
    bool empty() const { return keys.empty() && unnamed == 0; }
  };

  class Subscription {
   public:
    ~Subscription();
    // What has left and was not taken yet, at most `max_keys` of it.
    Removals Take(size_t max_keys);

   private:
    friend class RemovalFeed;
    explicit Subscription(RemovalFeed& feed) : feed_(feed) {}
    RemovalFeed& feed_;
    std::deque<BlockKey> keys_;  // these are guarded by the feed's mutex
    uint64_t unnamed_ = 0;
  };

  // `max_pending`: keys that wait for each listener.
  explicit RemovalFeed(size_t max_pending = 65536) : max_pending_(max_pending) {}

  std::unique_ptr<Subscription> Subscribe();

  // Costs one atomic read when nobody listens. May be called under any lock but the feed's own.
  void Publish(const BlockKey& key) {
    if (listeners_.load(std::memory_order_relaxed) > 0) PublishToAll(key);
  }

  // Waits until something was published since this was last called; false after Close.
  bool AwaitNews();
  void Close();

 private:
  void PublishToAll(const BlockKey& key);

  const size_t max_pending_;
  std::atomic<size_t> listeners_{0};
  absl::Mutex mutex_;
  absl::flat_hash_set<Subscription*> subscriptions_ ABSL_GUARDED_BY(mutex_);
  bool news_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace slimfill::kvstore
