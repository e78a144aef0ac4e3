#include "engine/ops/cuda/stream.h"

#include "absl/strings/str_cat.h"

namespace slimfill::engine::cuda {

Event::Event(Health& health) : health_(health) {
  health_.Check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event");
}
Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}
void Event::Record(cudaStream_t stream) { health_.Check(cudaEventRecord(event_, stream), "recording an event"); }
void Event::Synchronize() { health_.Check(cudaEventSynchronize(event_), "waiting for an event"); }
bool Event::Reached() {
  const cudaError_t error = cudaEventQuery(event_);
  return error != cudaErrorNotReady && health_.Check(error, "asking for an event");
}

Stream::Stream(Health& health) : health_(health) {
  health_.Check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}
Stream::~Stream() {
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}
void Stream::WaitFor(const Event& event) {
  health_.Check(cudaStreamWaitEvent(stream_, event.get(), 0), "making a stream wait");
}
void Stream::Synchronize() { health_.Check(cudaStreamSynchronize(stream_), "waiting for the GPU"); }

absl::StatusOr<std::unique_ptr<PinnedMemory>> PinnedMemory::Allocate(int64_t bytes) {
  void* data = nullptr;
  if (const cudaError_t error = cudaMallocHost(&data, bytes); error != cudaSuccess) {
    cudaGetLastError();  // an allocation that fails breaks nothing
    return absl::ResourceExhaustedError(absl::StrCat("cannot lock ", bytes, " bytes of host memory (",
                                                     cudaGetErrorName(error), "): free some, or use --backend=cpu"));
  }
  return std::unique_ptr<PinnedMemory>(new PinnedMemory(static_cast<std::byte*>(data), bytes));
}
PinnedMemory::~PinnedMemory() { cudaFreeHost(data_); }

}  // namespace slimfill::engine::cuda
