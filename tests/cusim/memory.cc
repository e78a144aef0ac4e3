#include "tests/cusim/memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

#include "cusim/lane.h"
#include "tests/cusim/schedule.h"

namespace cusim {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kAlignment = 256;
constexpr int kPoison = 0xff;

struct Allocation {
  size_t bytes;
  MemoryKind kind;
  char* mapping;  // null: from the heap, where the sanitizers look
  size_t mapped;  // without the guard page
};

std::map<uintptr_t, Allocation>& Allocations() {
  static auto* allocations = new std::map<uintptr_t, Allocation>();
  return *allocations;
}

size_t total_bytes = size_t{8} << 30;
size_t used_bytes = 0;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

void Protect(const Allocation& allocation, int protection) {
  if (allocation.kind == MemoryKind::kDevice && allocation.mapping != nullptr) {
    mprotect(allocation.mapping, allocation.mapped, protection);
  }
}

void ProtectAll(int protection) {
  if (!CurrentSchedule().protect_device_memory) return;
  for (const auto& [begin, allocation] : Allocations()) Protect(allocation, protection);
}

#if defined(CUSIM_ASAN) || defined(CUSIM_TSAN)
void* Map(size_t bytes, Allocation&) {
  void* p = nullptr;
  return posix_memalign(&p, kAlignment, bytes) == 0 ? p : nullptr;
}
#else
// The end lies against a guard page, as near as the alignment lets it.
void* Map(size_t bytes, Allocation& allocation) {
  const size_t padded = RoundUp(bytes, kAlignment);
  allocation.mapped = RoundUp(padded, kPage);
  void* mapping = mmap(nullptr, allocation.mapped + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  allocation.mapping = static_cast<char*>(mapping);
  mprotect(allocation.mapping + allocation.mapped, kPage, PROT_NONE);
  return allocation.mapping + allocation.mapped - padded;
}
#endif

}  // namespace

void* NewMemory(size_t bytes, MemoryKind kind) {
  if (kind == MemoryKind::kDevice && bytes > total_bytes - used_bytes) return nullptr;
  Allocation allocation{bytes, kind, nullptr, 0};
  void* p = Map(bytes, allocation);
  if (p == nullptr) return nullptr;
  if (kind == MemoryKind::kDevice) used_bytes += bytes;
  std::memset(p, kPoison, bytes);
  Allocations()[reinterpret_cast<uintptr_t>(p)] = allocation;
  if (CurrentSchedule().protect_device_memory) Protect(allocation, PROT_NONE);
  return p;
}

bool DeleteMemory(void* p, MemoryKind kind) {
  const auto found = Allocations().find(reinterpret_cast<uintptr_t>(p));
  if (found == Allocations().end() || found->second.kind != kind) return false;
  const Allocation allocation = found->second;
  Allocations().erase(found);
  if (kind == MemoryKind::kDevice) used_bytes -= allocation.bytes;
  if (allocation.mapping != nullptr) {
    munmap(allocation.mapping, allocation.mapped + kPage);
  } else {
    std::free(p);
  }
  return true;
}

bool IsMemory(const void* p, size_t bytes, MemoryKind kind) {
  const auto begin = reinterpret_cast<uintptr_t>(p);
  auto after = Allocations().upper_bound(begin);
  if (after == Allocations().begin()) return false;
  const auto& [first, allocation] = *--after;
  return allocation.kind == kind && begin + bytes <= first + allocation.bytes;
}

size_t FreeDeviceBytes() { return total_bytes - used_bytes; }
size_t TotalDeviceBytes() { return total_bytes; }
void SetTotalDeviceBytes(size_t bytes) {
  if (bytes < used_bytes) Fail("%zu bytes are in use, more than %zu", used_bytes, bytes);
  total_bytes = bytes;
}

DeviceAccess::DeviceAccess() { ProtectAll(PROT_READ | PROT_WRITE); }
DeviceAccess::~DeviceAccess() { ProtectAll(PROT_NONE); }

}  // namespace cusim
