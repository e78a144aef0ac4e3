#include "kvstore/core/arena.h"

#include <cstdlib>
#include <utility>

#include "base/status.h"

namespace slimfill::kvstore {
namespace {

constexpr size_t kHeapGrainBytes = 64;
// Addresses cost nothing: with several times the limit, free ones of different sizes do not get in each other's way.
constexpr uint64_t kAddressesPerByte = 4;

size_t RoundUp(size_t size, size_t grain) { return (size + grain - 1) / grain * grain; }

bool InSlab(size_t capacity) { return capacity >= Slab::kPageBytes; }

size_t Capacity(size_t size) { return RoundUp(size, size >= Slab::kPageBytes ? Slab::kPageBytes : kHeapGrainBytes); }

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

std::optional<SharedPlace> Buffer::place() const {
  if (arena_->slab().file() < 0 || !InSlab(Capacity(size_))) return std::nullopt;
  return arena_->slab().PlaceOf(data_);
}

absl::StatusOr<std::shared_ptr<Arena>> Arena::Create(uint64_t limit_bytes, bool shared) {
  constexpr uint64_t kMostAddresses = uint64_t{1} << 46;  // half of what a process has
  const uint64_t addresses =
      limit_bytes < kMostAddresses / kAddressesPerByte ? limit_bytes * kAddressesPerByte : limit_bytes;
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<Slab> slab, Slab::Create(addresses, limit_bytes, shared));
  return std::shared_ptr<Arena>(new Arena(limit_bytes, std::move(slab)));
}

std::byte* Arena::AllocateMemory(size_t capacity) {
  if (InSlab(capacity)) return slab_->Allocate(capacity);
  return static_cast<std::byte*>(std::aligned_alloc(kHeapGrainBytes, capacity));
}

void Arena::FreeMemory(std::byte* data, size_t capacity) {
  if (InSlab(capacity)) {
    slab_->Free(data, capacity);
  } else {
    std::free(data);
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
  if (data == nullptr) {  // no memory, or no addresses in one piece: the same to our caller as no room
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
  if (!InSlab(capacity)) {
    FreeMemory(data, capacity);
    absl::MutexLock lock(&mutex_);
    used_ -= Charge(size);
    return;
  }
  slab_->Invalidate(data);
  absl::MutexLock lock(&mutex_);
  used_ -= Charge(size);
  spares_[capacity].push_back(data);
  spare_bytes_ += capacity;
}

}  // namespace slimfill::kvstore
