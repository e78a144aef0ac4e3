// The store's memory: hands out byte buffers and never holds more than its limit, counting a fixed overhead per buffer
// for the index entry that will refer to it. Buffers of a page and more lie in a slab, smaller ones on the heap. Blocks
// of one model have one size, so freed pages are kept per size and used again (fresh ones cost a fault each); they go
// back to the system when other sizes need the room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "kvstore/core/slab.h"

namespace slimfill::kvstore {

class Arena;

// Owns bytes of an arena and gives them back when destroyed. Move only. Contents are undefined at first.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  absl::Span<std::byte> bytes() const { return absl::MakeSpan(data_, size_); }
  // Where other processes find it; nothing when the arena is not shared or the buffer too small for a page.
  std::optional<SharedPlace> place() const;

 private:
  friend class Arena;
  Buffer(std::shared_ptr<Arena> arena, std::byte* data, size_t size)
      : arena_(std::move(arena)), data_(data), size_(size) {}

  std::shared_ptr<Arena> arena_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Thread safe. Lives as long as its last buffer.
class Arena : public std::enable_shared_from_this<Arena> {
 public:
  // What one buffer costs besides its bytes: index entry, hash slot, eviction order, checksums, control blocks.
  static constexpr uint64_t kOverheadBytes = 512;

  // `shared`: other processes may map it. RESOURCE_EXHAUSTED as Slab::Create.
  static absl::StatusOr<std::shared_ptr<Arena>> Create(uint64_t limit_bytes, bool shared = false);
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Nothing when the buffer does not fit beside those in use. REQUIRES: size > 0.
  std::optional<Buffer> TryAllocate(size_t size);

  // Bytes that a buffer of `size` takes from the limit.
  static uint64_t Charge(size_t size);

  uint64_t used_bytes() const;
  uint64_t limit_bytes() const { return limit_bytes_; }
  const Slab& slab() const { return *slab_; }

 private:
  friend class Buffer;
  Arena(uint64_t limit_bytes, std::unique_ptr<Slab> slab) : limit_bytes_(limit_bytes), slab_(std::move(slab)) {}

  std::byte* AllocateMemory(size_t capacity);
  void FreeMemory(std::byte* data, size_t capacity);
  std::byte* TakeSpare(size_t capacity) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes spare buffers out until `needed` more bytes can be allocated within the limit.
  std::vector<std::pair<std::byte*, size_t>> TrimSpares(uint64_t needed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Free(std::byte* data, size_t size);

  const uint64_t limit_bytes_;
  const std::unique_ptr<Slab> slab_;
  mutable absl::Mutex mutex_;
  uint64_t used_ ABSL_GUARDED_BY(mutex_) = 0;         // charges of live buffers
  uint64_t spare_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // capacity of spare buffers; used_ + spare_bytes_ <= limit
  std::map<size_t, std::vector<std::byte*>> spares_ ABSL_GUARDED_BY(mutex_);  // by capacity
};

}  // namespace slimfill::kvstore
