// The host functions of the runtime, over streams and memory.
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "cusim/host_api.h"
#include "tests/cusim/faults.h"
#include "tests/cusim/memory.h"
#include "tests/cusim/omissions.h"
#include "tests/cusim/stream.h"
#include "tests/cusim/visible_memory.h"

using cusim::Device;
using cusim::MemoryKind;
using cusim::Operation;
using cusim::RuntimeLock;

namespace {

cudaError_t last_error = cudaSuccess;
uint64_t pageable_copies = 0;

cudaError_t Remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

// An error that a test has asked for comes instead of the call.
#define CUSIM_ENTER(name) \
  const RuntimeLock lock; \
  if (const cudaError_t injected = cusim::TakeFault(name); injected != cudaSuccess) return Remember(injected)

cudaError_t Allocate(void** p, size_t bytes, MemoryKind kind) {
  *p = nullptr;
  if (bytes == 0) return cudaSuccess;
  *p = cusim::NewMemory(bytes, kind);
  return Remember(*p == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}

cudaError_t Free(void* p, MemoryKind kind) {
  if (p == nullptr) return cudaSuccess;
  Device::Get().SynchronizeAll();
  return Remember(cusim::DeleteMemory(p, kind) ? cudaSuccess : cudaErrorInvalidValue);
}

bool IsDevice(const void* p, size_t bytes) { return cusim::IsMemory(p, bytes, MemoryKind::kDevice); }
bool IsPinned(const void* p, size_t bytes) { return cusim::IsMemory(p, bytes, MemoryKind::kPinned); }

bool KindFits(const void* to, size_t to_bytes, const void* from, size_t from_bytes, cudaMemcpyKind kind) {
  const bool to_device = IsDevice(to, to_bytes), from_device = IsDevice(from, from_bytes);
  switch (kind) {
    case cudaMemcpyHostToDevice:
      return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
      return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
      return to_device && from_device;
    case cudaMemcpyHostToHost:
      return !to_device && !from_device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

struct Copy2D {
  void* to;
  size_t to_pitch;
  const void* from;
  size_t from_pitch, width, height;
  size_t to_bytes() const { return (height - 1) * to_pitch + width; }
  size_t from_bytes() const { return (height - 1) * from_pitch + width; }
  void Run() const {
    for (size_t row = 0; row < height; ++row) {
      cusim::VisibleCopy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch,
                         width);
    }
  }
};

// As the real runtime: pageable host memory is read before the call returns, and written before it returns.
cudaError_t CopyAsync(Copy2D copy, cudaMemcpyKind kind, cudaStream_t stream) {
  if (copy.width == 0 || copy.height == 0) return cudaSuccess;
  if (copy.to_pitch < copy.width || copy.from_pitch < copy.width ||
      !KindFits(copy.to, copy.to_bytes(), copy.from, copy.from_bytes(), kind)) {
    return Remember(cudaErrorInvalidValue);
  }
  const bool from_pageable = !IsDevice(copy.from, 1) && !IsPinned(copy.from, 1);
  const bool to_pageable = !IsDevice(copy.to, 1) && !IsPinned(copy.to, 1);
  if (from_pageable || to_pageable) ++pageable_copies;
  Operation operation;
  if (from_pageable) {
    auto staged = std::make_shared<std::vector<char>>(copy.from_bytes());
    cusim::VisibleCopy(staged->data(), copy.from, copy.from_bytes());
    copy.from = staged->data();
    operation.run = [copy, staged] { copy.Run(); };
  } else {
    operation.run = [copy] { copy.Run(); };
  }
  Device::Get().Push(stream, std::move(operation));
  if (to_pageable) Device::Get().Synchronize(stream);
  return cudaSuccess;
}

}  // namespace

uint64_t cusim::PageableCopies() {
  const RuntimeLock lock;
  return pageable_copies;
}

cudaError_t cudaGetDeviceCount(int* count) {
  CUSIM_ENTER("cudaGetDeviceCount");
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  CUSIM_ENTER("cudaSetDevice");
  return Remember(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  CUSIM_ENTER("cudaGetDeviceProperties");
  if (device != 0) return Remember(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "emulated on the CPU");
  properties->totalGlobalMem = cusim::TotalDeviceBytes();
  properties->sharedMemPerBlockOptin = 99 << 10;
  properties->multiProcessorCount = 4;
  properties->major = 8;
  properties->minor = 9;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  CUSIM_ENTER("cudaDriverGetVersion");
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  CUSIM_ENTER("cudaMemGetInfo");
  *free = cusim::FreeDeviceBytes();
  *total = cusim::TotalDeviceBytes();
  return cudaSuccess;
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  CUSIM_ENTER("cudaDeviceGetDefaultMemPool");
  *pool = nullptr;
  return cudaSuccess;
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void* value) {
  CUSIM_ENTER("cudaMemPoolGetAttribute");
  std::memset(value, 0, sizeof(uint64_t));  // nothing is kept: freed memory is gone at once
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }

cudaError_t cudaMalloc(void** p, size_t bytes) {
  CUSIM_ENTER("cudaMalloc");
  return Allocate(p, bytes, MemoryKind::kDevice);
}
cudaError_t cudaFree(void* p) {
  CUSIM_ENTER("cudaFree");
  return Free(p, MemoryKind::kDevice);
}
cudaError_t cudaMallocAsync(void** p, size_t bytes, cudaStream_t) {
  CUSIM_ENTER("cudaMallocAsync");
  return Allocate(p, bytes, MemoryKind::kDevice);
}
// In stream order: what is queued on the stream before still finds the memory, what comes after does not.
cudaError_t cudaFreeAsync(void* p, cudaStream_t stream) {
  CUSIM_ENTER("cudaFreeAsync");
  if (p == nullptr) return cudaSuccess;
  if (!IsDevice(p, 1)) return Remember(cudaErrorInvalidValue);
  Operation operation;
  operation.run = [p] { cusim::DeleteMemory(p, MemoryKind::kDevice); };
  Device::Get().Push(stream, std::move(operation));
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** p, size_t bytes) {
  CUSIM_ENTER("cudaMallocHost");
  return Allocate(p, bytes, MemoryKind::kPinned);
}
cudaError_t cudaFreeHost(void* p) {
  CUSIM_ENTER("cudaFreeHost");
  return Free(p, MemoryKind::kPinned);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  CUSIM_ENTER("cudaMemcpyAsync");
  return CopyAsync({to, bytes, from, bytes, bytes, 1}, kind, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  CUSIM_ENTER("cudaMemcpy2DAsync");
  return CopyAsync({to, to_pitch, from, from_pitch, width, height}, kind, stream);
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  CUSIM_ENTER("cudaMemcpy");
  const cudaError_t error = CopyAsync({to, bytes, from, bytes, bytes, 1}, kind, nullptr);
  Device::Get().Synchronize(static_cast<cusim::Stream*>(nullptr));
  return error;
}
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  CUSIM_ENTER("cudaMemsetAsync");
  if (bytes == 0) return cudaSuccess;
  if (!IsDevice(p, bytes)) return Remember(cudaErrorInvalidValue);
  Operation operation;
  operation.run = [p, value, bytes] { cusim::VisibleSet(p, value, bytes); };
  Device::Get().Push(stream, std::move(operation));
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  CUSIM_ENTER("cudaStreamCreateWithFlags");
  *stream = Device::Get().NewStream();
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  CUSIM_ENTER("cudaStreamDestroy");
  if (stream == nullptr) return Remember(cudaErrorInvalidResourceHandle);
  Device::Get().DeleteStream(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  CUSIM_ENTER("cudaStreamSynchronize");
  const bool busy = !Device::Get().OrDefault(stream)->queue.empty();
  if (cusim::LeftOut("cudaStreamSynchronize", busy)) return cudaSuccess;
  Device::Get().Synchronize(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  CUSIM_ENTER("cudaStreamWaitEvent");
  if (cusim::LeftOut("cudaStreamWaitEvent", Device::HasWorkBefore(*event))) return cudaSuccess;
  Device::Get().WaitFor(stream, event);
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  CUSIM_ENTER("cudaEventCreateWithFlags");
  *event = new cusim::Event();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const RuntimeLock lock;
  delete event;  // recordings that are on their way live on; a broken device loses it, too
  return Remember(cusim::TakeFault("cudaEventDestroy"));
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  CUSIM_ENTER("cudaEventRecord");
  Device::Get().Record(event, stream);
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  CUSIM_ENTER("cudaEventSynchronize");
  if (cusim::LeftOut("cudaEventSynchronize", Device::HasWorkBefore(*event))) return cudaSuccess;
  Device::Get().Synchronize(event);
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  CUSIM_ENTER("cudaEventQuery");
  if (event->last == nullptr) return cudaSuccess;
  if (!event->last->reached) return cudaErrorNotReady;
  cusim::Acquire(&event->last->token);
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  CUSIM_ENTER("cudaDeviceSynchronize");
  Device::Get().SynchronizeAll();
  return cudaSuccess;
}

cudaError_t cudaPeekAtLastError() { return last_error; }
cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
  }
  return "unknown error";
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }
