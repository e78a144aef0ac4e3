// Moves KV between the engine and the KV store without making the engine wait: writes go behind, reads come ahead, and
// a store that is slow or gone costs only the reuse it would have given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "engine/ops/backend.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::engine {

struct StreamerOptions {
  int64_t max_queued_bytes = 512 << 20;            // writes waiting; more are dropped
  absl::Duration put_deadline = absl::Seconds(2);  // per batch
  absl::Duration fetch_deadline = absl::Milliseconds(50);
  absl::Duration renew_interval = absl::Seconds(3);
};

// A request's private area in the store: values only it can see, gone when it ends. Made by KvStreamer::OpenPrivate.
struct PrivateArea;

// A read on its way. Thread safe.
class PendingFetch {
 public:
  enum class State { kPending, kReady, kFailed };
  // Waits until done or `deadline`.
  State Wait(absl::Time deadline);
  // REQUIRES: state is kReady. One value per key asked for; empty where it was missing.
  const std::vector<std::vector<std::byte>>& values() const { return values_; }

 private:
  friend class KvStreamer;
  absl::Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kPending;
  std::vector<std::vector<std::byte>> values_;  // written before the state becomes kReady
};

// Thread safe. Calls return at once.
class KvStreamer {
 public:
  KvStreamer(kvstore::KvStore& store, Metrics& metrics, const StreamerOptions& options);
  ~KvStreamer();  // drops what is queued; call Flush first to keep it

  // `tenant`: as kvstore::PutItem's. `pending`: the value is on its way from the device, into the vector's memory;
  // null: it is there. A value that does not arrive is dropped.
  void PutShared(const kvstore::BlockKey& key, const kvstore::BlockKey& parent, uint64_t tenant,
                 std::vector<std::byte> value, std::unique_ptr<PendingRead> pending);

  std::shared_ptr<PrivateArea> OpenPrivate();
  void PutPrivate(const std::shared_ptr<PrivateArea>& area, uint32_t layer, uint32_t block,
                  std::vector<std::byte> value, std::unique_ptr<PendingRead> pending);
  std::shared_ptr<PendingFetch> FetchPrivate(const std::shared_ptr<PrivateArea>& area, uint32_t layer,
                                             absl::Span<const int32_t> blocks, int64_t value_bytes);
  void ClosePrivate(const std::shared_ptr<PrivateArea>& area);

  // Waits until everything queued so far is written (or given up), or `deadline`. True when all was.
  bool Flush(absl::Time deadline);

 private:
  struct Write {
    kvstore::BlockKey key;
    kvstore::BlockKey parent;
    std::shared_ptr<PrivateArea> area;  // null: shared
    std::vector<std::byte> value;
    std::unique_ptr<PendingRead> pending;  // behind `value`: gone before it
    uint64_t tenant = 0;
  };
  struct Read {
    std::shared_ptr<PrivateArea> area;
    std::vector<kvstore::BlockKey> keys;
    int64_t value_bytes;
    std::shared_ptr<PendingFetch> fetch;
  };
  void Enqueue(Write write);
  void WriterLoop();
  void ReaderLoop();
  std::vector<Write> NextBatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  kvstore::LeaseId LeaseForWriting(PrivateArea& area, absl::Time deadline);
  void WriteBatch(absl::Span<Write> batch);
  void RenewLeases();
  void CloseAreas(const std::vector<std::shared_ptr<PrivateArea>>& areas);
  void RunRead(const Read& read);

  kvstore::KvStore& store_;
  Metrics& metrics_;
  const StreamerOptions options_;

  absl::Mutex mutex_;
  std::deque<Write> writes_ ABSL_GUARDED_BY(mutex_);
  std::deque<Read> reads_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<PrivateArea>> open_areas_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<PrivateArea>> closing_ ABSL_GUARDED_BY(mutex_);
  int64_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread writer_;
  std::thread reader_;
};

}  // namespace slimfill::engine
