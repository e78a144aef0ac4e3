// Device and pinned memory: poisoned when new, with guards behind it, and on request out of the host's reach.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cusim {

enum class MemoryKind { kDevice, kPinned };

// REQUIRES, for all: the runtime's lock.
void* NewMemory(size_t bytes, MemoryKind kind);  // null when the emulated device is full; bytes > 0
bool DeleteMemory(void* p, MemoryKind kind);     // false when `p` is none
// Whether [p, p + bytes) lies in one allocation of that kind.
bool IsMemory(const void* p, size_t bytes, MemoryKind kind);
size_t FreeDeviceBytes();
size_t TotalDeviceBytes();
// How much the emulated device has, for tests of exhaustion; 8 GiB at first.
void SetTotalDeviceBytes(size_t bytes);

// Copies so far from or to host memory that is not pinned: each holds up the host. Takes the lock itself.
uint64_t PageableCopies();

// While it lives, device memory is open where the schedule protects it from the host.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
};

}  // namespace cusim
