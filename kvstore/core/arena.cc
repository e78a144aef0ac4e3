#include "kvstore/core/arena.h"

#include <sys/mman.h>

#include <cstdlib>
#include <utility>

#include "base/status.h"

namespace slimfill::kvstore {
namespace {

constexpr size_t kPageBytes = 4096;
// From here on a buffer is its own mapping: freed memory goes back to the system instead of fragmenting the heap.
constexpr size_t kMappedFromBytes = 32 * 1024;
constexpr size_t kHeapGrainBytes = 64;

size_t RoundUp(size_t size, size_t grain) { return (size + grain - 1) / grain * grain; }

bool IsMapped(size_t capacity) { return capacity >= kMappedFromBytes; }

size_t Capacity(size_t size) { return RoundUp(size, size >= kMappedFromBytes ? kPageBytes : kHeapGrainBytes); }

std::byte* AllocateMemory(size_t capacity) {
  if (!IsMapped(capacity)) return static_cast<std::byte*>(std::aligned_alloc(kHeapGrainBytes, capacity));
  void* mapped = mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return mapped == MAP_FAILED ? nullptr : static_cast<std::byte*>(mapped);
}

void FreeMemory(std::byte* data, size_t capacity) {
  if (!IsMapped(capacity)) {
    std::free(data);
  } else if (munmap(data, capacity) != 0) {
    // The system refuses to split a mapping when the process has too many of them; give the pages back at least.
    madvise(data, capacity, MADV_DONTNEED);
  }
}

}  // namespace

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this == &other) return *this;
  if (data_ != nullptr) arena_->Free(data_, size_);
  arena_ = std::move(other.arena_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) arena_->Free(data_, size_);
}

std::shared_ptr<Arena> Arena::Create(uint64_t limit_bytes) { return std::shared_ptr<Arena>(new Arena(limit_bytes)); }

Arena::~Arena() {
  for (const auto& [capacity, buffers] : spares_) {
    for (std::byte* data : buffers) FreeMemory(data, capacity);
  }
}

uint64_t Arena::Charge(size_t size) { return Capacity(size) + kOverheadBytes; }

uint64_t Arena::used_bytes() const {
  absl::MutexLock lock(&mutex_);
  return used_;
}

std::optional<Buffer> Arena::TryAllocate(size_t size) {
  SLIMFILL_CHECK(size > 0);
  if (size > limit_bytes_) return std::nullopt;  // also keeps the rounding below from overflowing
  const size_t capacity = Capacity(size);
  const uint64_t charge = Charge(size);
  std::byte* data = nullptr;
  std::vector<std::pair<std::byte*, size_t>> trimmed;
  {
    absl::MutexLock lock(&mutex_);
    if (charge > limit_bytes_ - used_) return std::nullopt;
    data = TakeSpare(capacity);
    trimmed = TrimSpares(charge);
    used_ += charge;
  }
  for (const auto& [spare, spare_capacity] : trimmed) FreeMemory(spare, spare_capacity);
  if (data == nullptr) data = AllocateMemory(capacity);
  if (data == nullptr) {  // the system has no memory: the same to our caller as no room
    absl::MutexLock lock(&mutex_);
    used_ -= charge;
    return std::nullopt;
  }
  return Buffer(shared_from_this(), data, size);
}

std::byte* Arena::TakeSpare(size_t capacity) {
  const auto found = spares_.find(capacity);
  if (found == spares_.end()) return nullptr;
  std::byte* data = found->second.back();
  found->second.pop_back();
  if (found->second.empty()) spares_.erase(found);
  spare_bytes_ -= capacity;
  return data;
}

std::vector<std::pair<std::byte*, size_t>> Arena::TrimSpares(uint64_t needed) {
  std::vector<std::pair<std::byte*, size_t>> trimmed;
  while (used_ + needed + spare_bytes_ > limit_bytes_) {
    const size_t capacity = spares_.rbegin()->first;  // the largest: fewest system calls
    trimmed.emplace_back(TakeSpare(capacity), capacity);
  }
  return trimmed;
}

void Arena::Free(std::byte* data, size_t size) {
  const size_t capacity = Capacity(size);
  if (!IsMapped(capacity)) {
    FreeMemory(data, capacity);
    absl::MutexLock lock(&mutex_);
    used_ -= Charge(size);
    return;
  }
  absl::MutexLock lock(&mutex_);
  used_ -= Charge(size);
  spares_[capacity].push_back(data);
  spare_bytes_ += capacity;
}

}  // namespace slimfill::kvstore
