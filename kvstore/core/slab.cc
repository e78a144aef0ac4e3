#include "kvstore/core/slab.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill::kvstore {
namespace {

uint64_t WholePages(uint64_t bytes) { return (bytes + Slab::kPageBytes - 1) / Slab::kPageBytes; }

void* Map(uint64_t bytes, const UniqueFd& file) {
  const int kind = file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, kind | MAP_NORESERVE, file.get(), 0);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Slab>> Slab::Create(uint64_t bytes, uint64_t least_bytes, bool shared) {
  absl::Status refused;
  for (uint64_t wanted = std::max(bytes, least_bytes); wanted >= least_bytes; wanted /= 2) {
    const uint64_t pages = WholePages(wanted);
    const uint64_t header_bytes = shared ? WholePages(pages * sizeof(uint64_t)) * kPageBytes : 0;
    const uint64_t mapped_bytes = header_bytes + pages * kPageBytes;
    UniqueFd file;
    if (shared) {
      SLIMFILL_ASSIGN_OR_RETURN(file, MakeMemoryFile("slimfill-kvstore", mapped_bytes));
    }
    void* mapped = Map(mapped_bytes, file);
    if (mapped != MAP_FAILED) {
      return std::unique_ptr<Slab>(new Slab(pages, header_bytes, std::move(file), static_cast<std::byte*>(mapped)));
    }
    refused = absl::ResourceExhaustedError(absl::StrCat("the system does not give ", mapped_bytes,
                                                        " bytes of addresses for the KV store: lower --memory, or "
                                                        "raise this process's limit (ulimit -v)"));
  }
  return refused;
}

Slab::Slab(uint64_t pages, uint64_t header_bytes, UniqueFd file, std::byte* mapped)
    : pages_(pages),
      header_bytes_(header_bytes),
      mapped_bytes_(header_bytes + pages * kPageBytes),
      file_(std::move(file)),
      mapped_(mapped),
      data_(mapped + header_bytes),
      free_(pages) {}

Slab::~Slab() { munmap(mapped_, mapped_bytes_); }

std::byte* Slab::Allocate(size_t size) {
  absl::MutexLock lock(&mutex_);
  const std::optional<uint64_t> page = free_.Take(size / kPageBytes);
  return page.has_value() ? data_ + *page * kPageBytes : nullptr;
}

void Slab::Free(std::byte* data, size_t size) {
  // A page that the system would not take back is merely still there when it is used again.
  madvise(data, size, file_ ? MADV_REMOVE : MADV_DONTNEED);
  absl::MutexLock lock(&mutex_);
  free_.Return(PageIndex(data), size / kPageBytes);
}

std::atomic<uint64_t>& Slab::Generation(size_t page) const {
  static_assert(std::atomic<uint64_t>::is_always_lock_free && sizeof(std::atomic<uint64_t>) == sizeof(uint64_t));
  return reinterpret_cast<std::atomic<uint64_t>*>(mapped_)[page];
}

void Slab::Invalidate(const std::byte* data) {
  if (!file_) return;
  // Read-modify-write with full ordering: what is written here next, past the caches or not, comes after it.
  Generation(PageIndex(data)).fetch_add(1, std::memory_order_seq_cst);
}

SharedPlace Slab::PlaceOf(const std::byte* data) const {
  SLIMFILL_CHECK(static_cast<bool>(file_));
  const size_t page = PageIndex(data);
  return {.offset = static_cast<uint64_t>(data - mapped_),
          .page = page,
          .generation = Generation(page).load(std::memory_order_relaxed)};
}

}  // namespace slimfill::kvstore
