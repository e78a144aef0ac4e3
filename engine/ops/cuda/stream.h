// Owners of streams, events and pinned memory.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/ops/cuda/health.h"

namespace slimfill::engine::cuda {

class Event {
 public:
  explicit Event(Health& health);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void Record(cudaStream_t stream);
  // The host waits.
  void Synchronize();
  bool Reached();
  cudaEvent_t get() const { return event_; }

 private:
  Health& health_;
  cudaEvent_t event_ = nullptr;
};

class Stream {
 public:
  explicit Stream(Health& health);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  // What is queued from now on waits for the event.
  void WaitFor(const Event& event);
  void Synchronize();
  cudaStream_t get() const { return stream_; }

 private:
  Health& health_;
  cudaStream_t stream_ = nullptr;
};

// Page-locked host memory: copies to and from it run beside the host.
class PinnedMemory {
 public:
  // RESOURCE_EXHAUSTED when the host gives no more.
  static absl::StatusOr<std::unique_ptr<PinnedMemory>> Allocate(int64_t bytes);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  PinnedMemory(std::byte* data, int64_t bytes) : data_(data), bytes_(bytes) {}
  std::byte* const data_;
  const int64_t bytes_;
};

}  // namespace slimfill::engine::cuda
