#include "engine/ops/cuda/device.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill::engine::cuda {
namespace {

constexpr int kDevice = 0;  // of the visible ones: CUDA_VISIBLE_DEVICES chooses
constexpr int kOldestMajor = 8;

absl::Status Unusable(const std::string& why) {
  return absl::FailedPreconditionError(absl::StrCat("backend cuda cannot start: ", why, ", or use --backend=cpu"));
}

std::string MiB(int64_t bytes) { return absl::StrCat((bytes + (1 << 20) - 1) >> 20, " MiB"); }

class DeviceBuffer : public Buffer {
 public:
  DeviceBuffer(void* data, int64_t bytes, cudaStream_t stream, BeforeFree before_free)
      : Buffer(data, bytes), range_(data, bytes), stream_(stream), before_free_(std::move(before_free)) {}
  ~DeviceBuffer() override {
    if (data_ == nullptr) return;
    if (before_free_) before_free_(range_);
    cudaFreeAsync(data_, stream_);
  }

 private:
  const MemoryRange range_;
  const cudaStream_t stream_;
  const BeforeFree before_free_;
};

// Memory that is given back stays with the process: the next request takes it without asking the driver.
absl::Status KeepFreedMemory() {
  cudaMemPool_t pool;
  uint64_t threshold = UINT64_MAX;
  cudaError_t error = cudaDeviceGetDefaultMemPool(&pool, kDevice);
  if (error == cudaSuccess) error = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold);
  if (error == cudaSuccess) return absl::OkStatus();
  return Unusable(absl::StrCat("its memory pool cannot be set up (", cudaGetErrorString(error),
                               "): use a GPU and driver with stream-ordered allocation"));
}

}  // namespace

absl::StatusOr<DeviceInfo> OpenDevice() {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0) {
    cudaGetLastError();
    return Unusable(absl::StrCat("no NVIDIA GPU with a driver was found (",
                                 error != cudaSuccess ? cudaGetErrorString(error) : "no device",
                                 "): install NVIDIA's driver, for CUDA 13 or newer"));
  }
  cudaDeviceProp properties;
  cudaError_t error = cudaSetDevice(kDevice);
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, kDevice);
  if (error != cudaSuccess) {
    return Unusable(absl::StrCat("the GPU does not answer (", cudaGetErrorString(error), "): see nvidia-smi"));
  }
  if (properties.major < kOldestMajor) {
    return Unusable(absl::StrCat(properties.name, " has compute capability ", properties.major, ".", properties.minor,
                                 ", the oldest supported is ", kOldestMajor,
                                 ".0: choose another with CUDA_VISIBLE_DEVICES"));
  }
  SLIMFILL_RETURN_IF_ERROR(KeepFreedMemory());
  return DeviceInfo{properties.name, properties.major, properties.minor,
                    static_cast<int64_t>(properties.totalGlobalMem)};
}

int64_t FreeDeviceBytes() {
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) return 0;
  cudaMemPool_t pool;
  uint64_t reserved = 0, used = 0;
  if (cudaDeviceGetDefaultMemPool(&pool, kDevice) == cudaSuccess) {
    cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved);
    cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used);
  }
  return static_cast<int64_t>(free + (reserved - std::min(used, reserved)));
}

absl::StatusOr<std::unique_ptr<Buffer>> AllocateOnDevice(int64_t bytes, cudaStream_t stream, BeforeFree before_free) {
  SLIMFILL_CHECK(bytes >= 0);
  void* data = nullptr;
  const cudaError_t error = cudaMallocAsync(&data, static_cast<size_t>(std::max<int64_t>(bytes, 1)), stream);
  if (error == cudaSuccess) return std::make_unique<DeviceBuffer>(data, bytes, stream, std::move(before_free));
  if (error != cudaErrorMemoryAllocation) {
    return absl::InternalError(
        absl::StrCat("the GPU failed: allocating: ", cudaGetErrorName(error), ": the server has to start again"));
  }
  cudaGetLastError();  // an allocation that fails breaks nothing
  return absl::ResourceExhaustedError(absl::StrCat("the GPU has no ", MiB(bytes), " free, only ",
                                                   MiB(FreeDeviceBytes()), " (", cudaGetErrorName(error),
                                                   "): lower --kv-pages-memory or --max-context"));
}

}  // namespace slimfill::engine::cuda
