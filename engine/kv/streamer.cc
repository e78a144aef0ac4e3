#include "engine/kv/streamer.h"

#include <algorithm>

#include "base/metric_names.h"
#include "base/status.h"
#include "kvstore/api/block_key.h"

namespace slimfill::engine {
namespace {

constexpr int64_t kBatchBytes = 8 << 20;

}  // namespace

struct PrivateArea {
  const kvstore::BlockKey nonce = kvstore::RandomKey();
  absl::Mutex mutex;
  kvstore::LeaseId lease ABSL_GUARDED_BY(mutex) = 0;  // opened with the first write; 0 again when the store lost it
  bool closed ABSL_GUARDED_BY(mutex) = false;
  int pending_writes ABSL_GUARDED_BY(mutex) = 0;  // queued or being written

  kvstore::LeaseId Lease() {
    absl::MutexLock lock(&mutex);
    return lease;
  }
  void AddPendingWrites(int count) {
    absl::MutexLock lock(&mutex);
    pending_writes += count;
  }
  // What was put before can be fetched afterwards: a read waits for the writes ahead of it.
  void AwaitWrites(absl::Time deadline) {
    absl::MutexLock lock(&mutex);
    auto written = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return pending_writes == 0; };
    mutex.AwaitWithDeadline(absl::Condition(&written), deadline);
  }
};

PendingFetch::State PendingFetch::Wait(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  auto done = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return state_ != State::kPending; };
  mutex_.AwaitWithDeadline(absl::Condition(&done), deadline);
  return state_;
}

KvStreamer::KvStreamer(kvstore::KvStore& store, Metrics& metrics, const StreamerOptions& options)
    : store_(store), metrics_(metrics), options_(options) {
  writer_ = std::thread([this] { WriterLoop(); });
  reader_ = std::thread([this] { ReaderLoop(); });
}

KvStreamer::~KvStreamer() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
    writes_.clear();
    queued_bytes_ = 0;
    closing_.insert(closing_.end(), open_areas_.begin(), open_areas_.end());
  }
  writer_.join();
  reader_.join();
  CloseAreas(closing_);
}

void KvStreamer::Enqueue(Write write) {
  absl::MutexLock lock(&mutex_);
  const int64_t bytes = static_cast<int64_t>(write.value.size());
  if (queued_bytes_ + bytes > options_.max_queued_bytes) {
    metrics_.Add(metric::kKvStoreErrors, {"put_dropped"});
    return;
  }
  queued_bytes_ += bytes;
  if (write.area != nullptr) write.area->AddPendingWrites(1);
  writes_.push_back(std::move(write));
}

void KvStreamer::PutShared(const kvstore::BlockKey& key, const kvstore::BlockKey& parent, uint64_t tenant,
                           std::vector<std::byte> value, std::unique_ptr<PendingRead> pending) {
  Enqueue({key, parent, nullptr, std::move(value), std::move(pending), tenant});
}

std::shared_ptr<PrivateArea> KvStreamer::OpenPrivate() {
  auto area = std::make_shared<PrivateArea>();
  absl::MutexLock lock(&mutex_);
  open_areas_.push_back(area);
  return area;
}

void KvStreamer::PutPrivate(const std::shared_ptr<PrivateArea>& area, uint32_t layer, uint32_t block,
                            std::vector<std::byte> value, std::unique_ptr<PendingRead> pending) {
  Enqueue({kvstore::PrivateKey(area->nonce, layer, block), {}, area, std::move(value), std::move(pending)});
}

std::shared_ptr<PendingFetch> KvStreamer::FetchPrivate(const std::shared_ptr<PrivateArea>& area, uint32_t layer,
                                                       absl::Span<const int32_t> blocks, int64_t value_bytes) {
  Read read{area, {}, value_bytes, std::make_shared<PendingFetch>()};
  for (const int32_t block : blocks) read.keys.push_back(kvstore::PrivateKey(area->nonce, layer, block));
  std::shared_ptr<PendingFetch> fetch = read.fetch;
  absl::MutexLock lock(&mutex_);
  reads_.push_back(std::move(read));
  return fetch;
}

void KvStreamer::ClosePrivate(const std::shared_ptr<PrivateArea>& area) {
  {
    absl::MutexLock area_lock(&area->mutex);
    area->closed = true;
  }
  absl::MutexLock lock(&mutex_);
  std::erase(open_areas_, area);
  closing_.push_back(area);
}

bool KvStreamer::Flush(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return writes_.empty() && !writing_; };
  return mutex_.AwaitWithDeadline(absl::Condition(&idle), deadline);
}

// Writes of one kind (shared, or one request's) up to a few MiB. Those of a closed request are skipped.
std::vector<KvStreamer::Write> KvStreamer::NextBatch() {
  std::vector<Write> batch;
  int64_t bytes = 0;
  while (!writes_.empty() && bytes < kBatchBytes) {
    if (!batch.empty() && writes_.front().area != batch.front().area) break;
    bytes += static_cast<int64_t>(writes_.front().value.size());
    batch.push_back(std::move(writes_.front()));
    writes_.pop_front();
  }
  queued_bytes_ -= bytes;
  return batch;
}

void KvStreamer::WriterLoop() {
  absl::Time next_renewal = absl::Now() + options_.renew_interval;
  while (true) {
    std::vector<Write> batch;
    std::vector<std::shared_ptr<PrivateArea>> closing;
    {
      absl::MutexLock lock(&mutex_);
      auto work = [this]()
                      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !writes_.empty() || !closing_.empty(); };
      mutex_.AwaitWithDeadline(absl::Condition(&work), next_renewal);
      if (stop_) return;
      batch = NextBatch();
      closing.swap(closing_);
      writing_ = true;
    }
    if (!batch.empty()) {
      WriteBatch(absl::MakeSpan(batch));
      if (batch.front().area != nullptr) batch.front().area->AddPendingWrites(-static_cast<int>(batch.size()));
    }
    CloseAreas(closing);
    if (absl::Now() >= next_renewal) {
      RenewLeases();
      next_renewal = absl::Now() + options_.renew_interval;
    }
    absl::MutexLock lock(&mutex_);
    writing_ = false;
  }
}

// The area's lease, opened by its first write. 0 when the request has ended or the store gives none: then the request
// goes on without swaps. Only the writer thread opens and releases leases, so no lock is held across the call.
kvstore::LeaseId KvStreamer::LeaseForWriting(PrivateArea& area, absl::Time deadline) {
  {
    absl::MutexLock lock(&area.mutex);
    if (area.closed || area.lease != 0) return area.closed ? 0 : area.lease;
  }
  const absl::StatusOr<kvstore::LeaseId> opened = store_.OpenPrivate(deadline);
  if (!opened.ok()) return 0;
  absl::MutexLock lock(&area.mutex);
  area.lease = *opened;
  return area.lease;
}

void KvStreamer::WriteBatch(absl::Span<Write> batch) {
  std::vector<kvstore::PutItem> items;
  items.reserve(batch.size());
  for (Write& write : batch) {
    if (write.pending != nullptr && !write.pending->Wait().ok()) continue;  // the device broke: worthless bytes
    items.push_back({write.key, write.parent, {absl::MakeConstSpan(write.value)}, write.tenant});
  }
  const absl::Time deadline = absl::Now() + options_.put_deadline;  // of the store, which has all of the time
  const std::shared_ptr<PrivateArea>& area = batch.front().area;
  kvstore::LeaseId lease = 0;
  if (area != nullptr) {
    lease = LeaseForWriting(*area, deadline);
    if (lease == 0) return;
  }
  store_.Put(items, lease, deadline).status().IgnoreError();  // a block that was not stored is a miss later on
}

void KvStreamer::RenewLeases() {
  std::vector<std::shared_ptr<PrivateArea>> areas;
  {
    absl::MutexLock lock(&mutex_);
    areas = open_areas_;
  }
  for (const std::shared_ptr<PrivateArea>& area : areas) {
    const kvstore::LeaseId lease = area->Lease();
    if (lease == 0) continue;
    const absl::Status renewed = store_.Renew(lease, absl::Now() + options_.fetch_deadline);
    if (absl::IsNotFound(renewed)) {
      absl::MutexLock lock(&area->mutex);
      area->lease = 0;
    }
  }
}

void KvStreamer::CloseAreas(const std::vector<std::shared_ptr<PrivateArea>>& areas) {
  for (const std::shared_ptr<PrivateArea>& area : areas) {
    if (const kvstore::LeaseId lease = area->Lease(); lease != 0) store_.Release(lease);
  }
}

void KvStreamer::ReaderLoop() {
  while (true) {
    Read read;
    {
      absl::MutexLock lock(&mutex_);
      auto work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !reads_.empty(); };
      mutex_.Await(absl::Condition(&work));
      if (reads_.empty()) return;
      read = std::move(reads_.front());
      reads_.pop_front();
    }
    RunRead(read);
  }
}

void KvStreamer::RunRead(const Read& read) {
  std::vector<std::vector<std::byte>> values(read.keys.size(), std::vector<std::byte>(read.value_bytes));
  std::vector<kvstore::FetchItem> items;
  for (size_t i = 0; i < values.size(); ++i) items.push_back({read.keys[i], 0, absl::MakeSpan(values[i])});
  const absl::Time deadline = absl::Now() + options_.fetch_deadline;
  read.area->AwaitWrites(deadline);
  const kvstore::LeaseId lease = read.area->Lease();
  PendingFetch::State state = PendingFetch::State::kFailed;
  if (lease != 0) {
    const auto statuses = store_.Fetch(items, lease, deadline);
    if (statuses.ok()) {
      state = PendingFetch::State::kReady;
      for (size_t i = 0; i < values.size(); ++i) {
        if (!(*statuses)[i].ok()) values[i].clear();
      }
    }
  }
  absl::MutexLock lock(&read.fetch->mutex_);
  read.fetch->values_ = std::move(values);
  read.fetch->state_ = state;
}

}  // namespace slimfill::engine
