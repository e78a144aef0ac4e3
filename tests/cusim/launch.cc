#include "cusim/launch.h"

#include <algorithm>
#include <map>

#include "cusim/lane.h"
#include "tests/cusim/block.h"
#include "tests/cusim/faults.h"
#include "tests/cusim/memory.h"
#include "tests/cusim/omissions.h"
#include "tests/cusim/stream.h"

namespace cusim {
namespace {

// Compute capability 8.9, the smallest of those we build for.
constexpr size_t kSharedWithoutAsking = 48 << 10;
constexpr size_t kSharedLimit = 99 << 10;
constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kMaxGridYZ = 65535;

std::map<const void*, size_t>& MaxDynamicShared() {
  static auto* limits = new std::map<const void*, size_t>();
  return *limits;
}

size_t SharedLimit(const void* kernel) {
  const auto asked = MaxDynamicShared().find(kernel);
  return asked == MaxDynamicShared().end() ? kSharedWithoutAsking : asked->second;
}

bool Launchable(const void* kernel, const cudaLaunchConfig_t& config) {
  const dim3 &grid = config.gridDim, &block = config.blockDim;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kMaxThreads || block.z > 64) return false;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > kMaxGridYZ || grid.z > kMaxGridYZ) return false;
  return config.dynamicSmemBytes <= SharedLimit(kernel);
}

}  // namespace

cudaError_t Launch(const void* kernel, const cudaLaunchConfig_t& config, std::function<void()> lane_body) {
  const RuntimeLock lock;
  if (const cudaError_t injected = TakeFault("cudaLaunchKernelEx"); injected != cudaSuccess) return injected;
  if (!Launchable(kernel, config)) return cudaErrorInvalidConfiguration;
  // Static arrays, which show only as the kernel runs, have to fit beside what was asked for.
  const size_t limit = SharedLimit(kernel) > kSharedWithoutAsking ? kSharedLimit : kSharedWithoutAsking;
  const size_t shared = config.dynamicSmemBytes - std::min(config.dynamicSmemBytes, SharedMemoryLeftOut());
  Operation operation;
  operation.run = [config, shared, limit, body = std::move(lane_body), number = Device::Get().NextLaunch()] {
    BlockRunner::RunGrid({config.gridDim, config.blockDim, shared, limit, &body}, number,
                         Device::Get().running_fiber());
  };
  Device::Get().Push(config.stream, std::move(operation));
  return cudaSuccess;
}

cudaError_t SetMaxDynamicShared(const void* kernel, int bytes) {
  const RuntimeLock lock;
  if (bytes < 0 || static_cast<size_t>(bytes) > kSharedLimit) return cudaErrorInvalidValue;
  if (LeftOut("cudaFuncSetAttribute", true)) {
    MaxDynamicShared().erase(kernel);
    return cudaSuccess;
  }
  MaxDynamicShared()[kernel] = static_cast<size_t>(bytes);
  return cudaSuccess;
}

void CheckKernelArgument(int index, const void* p) {
  const RuntimeLock lock;
  if (p == nullptr || IsMemory(p, 1, MemoryKind::kDevice) || IsMemory(p, 1, MemoryKind::kPinned)) return;
  Fail("kernel argument %d, %p, is neither device nor pinned memory", index, p);
}

}  // namespace cusim
