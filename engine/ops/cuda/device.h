// The GPU that the backend runs on: finding it, and its memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/ops/cuda/health.h"
#include "engine/ops/cuda/memory_range.h"
#include "engine/tensor/matrix.h"

namespace slimfill::engine::cuda {

struct DeviceInfo {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int64_t memory_bytes = 0;
};

// Takes the first visible device. FAILED_PRECONDITION without a driver, a device, or compute capability 8.0; says what
// to do instead.
absl::StatusOr<DeviceInfo> OpenDevice();

// What an allocation could get now: free, or kept by us for reuse.
int64_t FreeDeviceBytes();

// Called before memory is given back: `stream` must wait for what other streams still do with it.
using BeforeFree = std::function<void(const MemoryRange&)>;

// Device memory, not initialised; given back in the order of `stream`, which must outlive it. RESOURCE_EXHAUSTED, with
// what is needed, what there is and the flag to lower; INTERNAL when the device has failed.
absl::StatusOr<std::unique_ptr<Buffer>> AllocateOnDevice(int64_t bytes, cudaStream_t stream,
                                                         BeforeFree before_free = nullptr);

}  // namespace slimfill::engine::cuda
