#include "engine/ops/cuda/transfers.h"

#include <algorithm>
#include <cstring>

#include "base/status.h"

namespace slimfill::engine::cuda {

// A read whose bytes are in pinned memory, or on their way there. Whoever comes first, the waiter or the ring that
// needs the space, takes them out.
struct ReadInFlight {
  ReadInFlight(Health& h, absl::Span<std::byte> to, const std::byte* from, int64_t offset)
      : health(h), copied(h), begin(offset), end(offset + static_cast<int64_t>(to.size())), host(to), pinned(from) {}

  void Finish() {
    absl::MutexLock lock(&mutex);
    if (finished) return;
    copied.Synchronize();
    if (!host.empty()) std::memcpy(host.data(), pinned, host.size());
    finished = true;
  }
  // The host memory goes away; the copy into pinned memory still has to end before the space is used again.
  void Abandon() {
    absl::MutexLock lock(&mutex);
    host = {};
  }

  Health& health;
  Event copied;
  const int64_t begin, end;  // in the ring
  absl::Mutex mutex;
  bool finished ABSL_GUARDED_BY(mutex) = false;
  absl::Span<std::byte> host ABSL_GUARDED_BY(mutex);
  const std::byte* const pinned;
};

namespace {

class PendingPinnedRead : public PendingRead {
 public:
  explicit PendingPinnedRead(std::vector<std::shared_ptr<ReadInFlight>> pieces) : pieces_(std::move(pieces)) {}
  ~PendingPinnedRead() override {
    for (const auto& piece : pieces_) piece->Abandon();
  }
  absl::Status Wait() override {
    for (const auto& piece : pieces_) piece->Finish();
    return pieces_.empty() ? absl::OkStatus() : pieces_.front()->health.status();
  }

 private:
  const std::vector<std::shared_ptr<ReadInFlight>> pieces_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transfers>> Transfers::Create(Stream& compute, Health& health, int64_t up_bytes,
                                                             int64_t down_bytes) {
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<PinnedMemory> up, PinnedMemory::Allocate(up_bytes));
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<PinnedMemory> down, PinnedMemory::Allocate(down_bytes));
  return std::unique_ptr<Transfers>(new Transfers(compute, health, std::move(up), std::move(down)));
}

Transfers::Transfers(Stream& compute, Health& health, std::unique_ptr<PinnedMemory> up,
                     std::unique_ptr<PinnedMemory> down)
    : compute_(compute),
      health_(health),
      up_(health),
      down_(health),
      compute_reached_(health),
      up_reached_(health),
      down_reached_(health),
      up_memory_(std::move(up)),
      down_memory_(std::move(down)) {
  for (int i = 0; i < kUpSlots; ++i) up_done_.push_back(std::make_unique<Event>(health));
}

Transfers::~Transfers() {
  up_.Synchronize();
  for (const auto& read : reads_) read->Finish();
}

void Transfers::BeforeRead(const MemoryRange& range) {
  if (!written_.empty() && written_.Overlap(range)) {
    compute_.WaitFor(up_reached_);
    written_.Clear();
  }
  used_.Add(range);
}

void Transfers::BeforeWrite(const MemoryRange& range) {
  BeforeRead(range);
  if (!read_.empty() && read_.Overlap(range)) {
    compute_.WaitFor(down_reached_);
    read_.Clear();
  }
}

void Transfers::Write(absl::Span<const std::byte> host, std::byte* device) {
  const MemoryRange range(device, static_cast<int64_t>(host.size()));
  if (used_.Overlap(range)) {
    compute_reached_.Record(compute_.get());
    up_.WaitFor(compute_reached_);
  }
  if (read_.Overlap(range)) up_.WaitFor(down_reached_);
  const size_t slot_bytes = static_cast<size_t>(up_memory_->bytes() / kUpSlots);
  while (!host.empty()) {
    const size_t bytes = std::min(host.size(), slot_bytes);
    WritePiece(host.first(bytes), device);
    host.remove_prefix(bytes);
    device += bytes;
  }
  up_reached_.Record(up_.get());
  written_.Add(range);
}

void Transfers::WritePiece(absl::Span<const std::byte> host, std::byte* device) {
  Event& done = *up_done_[up_slot_];
  std::byte* pinned = up_memory_->data() + up_memory_->bytes() / kUpSlots * up_slot_;
  up_slot_ = (up_slot_ + 1) % kUpSlots;
  done.Synchronize();  // the copy that used the slot before
  std::memcpy(pinned, host.data(), host.size());
  health_.Check(cudaMemcpyAsync(device, pinned, host.size(), cudaMemcpyHostToDevice, up_.get()), "copying to the GPU");
  done.Record(up_.get());
}

// Space in the ring behind the youngest read; the oldest reads are finished until nothing is left in it.
int64_t Transfers::TakeDownSpace(int64_t bytes) {
  if (down_end_ + bytes > down_memory_->bytes()) down_end_ = 0;
  const int64_t begin = down_end_, end = begin + bytes;
  const auto in_the_way = [&](const auto& read) { return read->begin < end && begin < read->end; };
  while (std::any_of(reads_.begin(), reads_.end(), in_the_way)) {
    reads_.front()->Finish();
    reads_.pop_front();
  }
  down_end_ = end;
  return begin;
}

std::unique_ptr<PendingRead> Transfers::BeginRead(absl::Span<const absl::Span<const std::byte>> sources,
                                                  absl::Span<std::byte> host) {
  // The bytes are what the ops queued so far leave there.
  compute_reached_.Record(compute_.get());
  down_.WaitFor(compute_reached_);
  std::vector<std::shared_ptr<ReadInFlight>> pieces;
  const int64_t most = down_memory_->bytes() / 4;
  for (absl::Span<const std::byte> source : sources) {
    const MemoryRange range(source.data(), static_cast<int64_t>(source.size()));
    if (written_.Overlap(range)) down_.WaitFor(up_reached_);
    read_.Add(range);
    while (!source.empty()) {
      const int64_t bytes = std::min(static_cast<int64_t>(source.size()), most);
      const int64_t offset = TakeDownSpace(bytes);
      auto piece = std::make_shared<ReadInFlight>(health_, host.first(bytes), down_memory_->data() + offset, offset);
      health_.Check(
          cudaMemcpyAsync(down_memory_->data() + offset, source.data(), bytes, cudaMemcpyDeviceToHost, down_.get()),
          "copying from the GPU");
      piece->copied.Record(down_.get());
      reads_.push_back(piece);
      pieces.push_back(std::move(piece));
      source.remove_prefix(bytes);
      host.remove_prefix(bytes);
    }
  }
  down_reached_.Record(down_.get());
  return std::make_unique<PendingPinnedRead>(std::move(pieces));
}

}  // namespace slimfill::engine::cuda
