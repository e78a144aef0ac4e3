// Copies between host and device beside the computation: pages that are swapped in (a stream of their own), pages and
// rows that are read behind the computation (another). Both go through pinned memory. Streams wait for each other by
// events only, and only where they touch the same bytes:
// - a copy to the device waits for the ops queued since the last synchronisation that used its bytes, or not at all;
// - an op waits for copies to the device only if it uses their bytes: a page swapped in for a layer arrives beside the
//   work before that layer's attention;
// - an op that overwrites bytes being read waits for the read.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "engine/ops/backend.h"
#include "engine/ops/cuda/memory_range.h"
#include "engine/ops/cuda/stream.h"

namespace slimfill::engine::cuda {

struct ReadInFlight;

// The engine thread's, but for the results of BeginRead, which any thread may wait for.
class Transfers {
 public:
  // Pinned memory for each direction: little for pages that come one by one, room for what a chunk of prefill leaves.
  // `compute` and `health` outlive the object.
  static absl::StatusOr<std::unique_ptr<Transfers>> Create(Stream& compute, Health& health, int64_t up_bytes,
                                                           int64_t down_bytes);
  ~Transfers();

  // Before an op is queued on the compute stream, for everything it reads and writes.
  void BeforeRead(const MemoryRange& range);
  void BeforeWrite(const MemoryRange& range);
  // The host has waited for the compute stream.
  void ComputeSynchronized() { used_.Clear(); }

  // Returns when `host` has been taken over.
  void Write(absl::Span<const std::byte> host, std::byte* device);
  std::unique_ptr<PendingRead> BeginRead(absl::Span<const absl::Span<const std::byte>> sources,
                                         absl::Span<std::byte> host);

 private:
  Transfers(Stream& compute, Health& health, std::unique_ptr<PinnedMemory> up, std::unique_ptr<PinnedMemory> down);
  void WritePiece(absl::Span<const std::byte> host, std::byte* device);
  int64_t TakeDownSpace(int64_t bytes);

  Stream& compute_;
  Health& health_;
  Stream up_, down_;
  Event compute_reached_, up_reached_, down_reached_;
  MemoryRanges used_;     // by ops since the host waited for the compute stream
  MemoryRanges written_;  // by copies that the compute stream does not wait for yet; up_reached_ is behind them
  MemoryRanges read_;     // by copies that the compute stream does not wait for yet; down_reached_ is behind them

  // To the device: slots taken in turns.
  static constexpr int kUpSlots = 8;
  const std::unique_ptr<PinnedMemory> up_memory_;
  std::vector<std::unique_ptr<Event>> up_done_;
  int up_slot_ = 0;
  // To the host: a ring in order of the reads; the oldest is finished when space is needed.
  const std::unique_ptr<PinnedMemory> down_memory_;
  std::deque<std::shared_ptr<ReadInFlight>> reads_;
  int64_t down_end_ = 0;
};

}  // namespace slimfill::engine::cuda
