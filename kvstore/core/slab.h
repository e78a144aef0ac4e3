// The pages that an arena's buffers lie in: a range of addresses much larger than the memory that it may hold, so that
// buffers of any size find room in one piece. Pages take memory when they are first written and until they are freed.
//
// A shared slab is a memfd which other processes map to read blocks without a copy on our side. They cannot hold a lock
// here; instead every page has a generation that changes when the buffer which begins there is freed. A reader that
// finds the generation it was told *after* it has copied has copied what was stored (a sequence lock).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "kvstore/api/memory_file.h"
#include "kvstore/core/extent_map.h"

namespace slimfill::kvstore {

// Where a reader of a shared slab finds a buffer, and what it must still find afterwards.
struct SharedPlace {
  uint64_t offset = 0;  // of the file
  uint64_t page = 0;    // which generation to look at
  uint64_t generation = 0;
};

// Thread safe.
class Slab {
 public:
  static constexpr size_t kPageBytes = 4096;

  // `bytes` of addresses; fewer where the system does not give as many, but at least `least_bytes`. RESOURCE_EXHAUSTED
  // says what the system refused.
  static absl::StatusOr<std::unique_ptr<Slab>> Create(uint64_t bytes, uint64_t least_bytes, bool shared);
  ~Slab();
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  // REQUIRES: size is a multiple of kPageBytes. Null when no free range is as long. The contents are undefined.
  std::byte* Allocate(size_t size);
  // Gives the pages back to the system. REQUIRES: from Allocate.
  void Free(std::byte* data, size_t size);
  // What is at `data` goes: readers who copy it from now on find another generation. To be called before the memory is
  // written again.
  void Invalidate(const std::byte* data);

  // REQUIRES: shared.
  SharedPlace PlaceOf(const std::byte* data) const;
  // The file, to be mapped for reading only: it begins with file_pages() generations of 8 bytes. -1 when not shared.
  int file() const { return file_.get(); }
  uint64_t file_bytes() const { return mapped_bytes_; }
  uint64_t file_pages() const { return pages_; }

 private:
  Slab(uint64_t pages, uint64_t header_bytes, UniqueFd file, std::byte* mapped);

  size_t PageIndex(const std::byte* data) const { return static_cast<size_t>(data - data_) / kPageBytes; }
  std::atomic<uint64_t>& Generation(size_t page) const;

  const uint64_t pages_;
  const uint64_t header_bytes_;
  const uint64_t mapped_bytes_;
  const UniqueFd file_;  // none: not shared
  std::byte* const mapped_;
  std::byte* const data_;

  absl::Mutex mutex_;
  ExtentMap free_ ABSL_GUARDED_BY(mutex_);  // pages
};

}  // namespace slimfill::kvstore
