// Copies blocks that have proved useful from a KV store to the L2, behind everybody's back: a block is queued when it
// is touched a second time, so that what nobody asks for again never takes the L2's room or the network's.
#pragma once

#include <cstddef>
#include <deque>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "kvstore/core/local_store.h"
#include "kvstore/l2/key_memory.h"
#include "kvstore/l2/l2_store.h"

namespace slimfill::kvstore {

struct WriteBehindOptions {
  size_t max_queue = 4096;      // blocks; further ones are dropped, and queued when they are touched again
  size_t known_keys = 1 << 17;  // blocks that are not written again
  absl::Duration known_for = absl::Hours(12);    // at most half of how long the L2 keeps them
  uint64_t batch_bytes = uint64_t{16} << 20;     // written at once; these blocks cannot be freed meanwhile
  absl::Duration write_time = absl::Seconds(5);  // for one batch
};

// Thread safe.
class WriteBehind {
 public:
  // `store`, `l2`, `clock` and `metrics` (may be null) outlive it.
  WriteBehind(LocalKvStore& store, L2Store& l2, const WriteBehindOptions& options, const Clock& clock,
              Metrics* metrics);
  ~WriteBehind();  // what is queued is dropped

  // Keys of a chain, front to back, that a reader has found in the store. Never waits.
  void Touch(absl::Span<const BlockKey> keys);

  // The blocks are in the L2 already.
  void MarkKnown(absl::Span<const BlockKey> keys);
  // They are not, or not in a readable form: they are written again at their next second touch.
  void Forget(absl::Span<const BlockKey> keys);

  // Waits until everything queued before has been written or given up, at most until `deadline` of the system's clock.
  bool Flush(absl::Time deadline);

 private:
  struct Job {
    BlockKey key;
    BlockKey predecessor;  // in the chain it was touched in; all zero for none
  };

  void Run();
  // Waits for jobs; none when it is time to stop.
  std::vector<Job> TakeJobs();
  // Writes the first jobs, as many as fit into one batch, and removes them.
  void WriteBatch(std::vector<Job>& jobs);
  void Count(const char* outcome, size_t blocks = 1);

  LocalKvStore& store_;
  L2Store& l2_;
  const WriteBehindOptions options_;
  const Clock& clock_;
  Metrics* const metrics_;

  absl::Mutex mutex_;
  std::deque<Job> queue_ ABSL_GUARDED_BY(mutex_);
  KeyMemory known_ ABSL_GUARDED_BY(mutex_);  // in the L2, or on the way
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread writer_;
};

}  // namespace slimfill::kvstore
