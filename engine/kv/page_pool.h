// KV pages of one size in backend memory, reserved per sequence so that a sequence that has started never runs short.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/metrics.h"
#include "engine/ops/backend.h"

namespace slimfill::engine {

class PagePool;

// The right to hold up to `pages` pages; gives them back when destroyed. Move only.
class PageReservation {
 public:
  PageReservation() = default;
  PageReservation(PageReservation&& other) noexcept { *this = std::move(other); }
  PageReservation& operator=(PageReservation&& other) noexcept;
  ~PageReservation() { Reset(); }
  int64_t pages() const { return pages_; }
  void Reset();

 private:
  friend class PagePool;
  PageReservation(PagePool* pool, int64_t pages) : pool_(pool), pages_(pages) {}
  PagePool* pool_ = nullptr;
  int64_t pages_ = 0;
};

// Engine thread only. Memory grows in slabs as pages are used and is kept for reuse.
class PagePool {
 public:
  PagePool(Backend& backend, Metrics& metrics, int64_t page_bytes, int64_t pages_total);

  // Takes the memory of all pages now, for a backend whose memory is its own: what is reserved can then be taken.
  // RESOURCE_EXHAUSTED, saying how much is needed, how much there is, and which flag lowers it.
  absl::Status Preallocate();

  // RESOURCE_EXHAUSTED when others hold too many.
  absl::StatusOr<PageReservation> Reserve(int64_t pages);
  // A page whose content is finite but otherwise arbitrary. RESOURCE_EXHAUSTED when the backend has no memory.
  absl::StatusOr<std::byte*> Take();
  void GiveBack(std::byte* page);

  int64_t page_bytes() const { return page_bytes_; }
  int64_t pages_total() const { return pages_total_; }
  int64_t pages_used() const { return used_; }
  int64_t pages_reserved() const { return reserved_; }

 private:
  friend class PageReservation;
  void ChangeReserved(int64_t pages);
  absl::Status AddSlab(int64_t pages);

  Backend& backend_;
  Metrics& metrics_;
  const int64_t page_bytes_;
  const int64_t pages_total_;
  std::vector<std::unique_ptr<Buffer>> slabs_;
  std::vector<std::byte*> free_;
  int64_t used_ = 0;
  int64_t reserved_ = 0;
};

}  // namespace slimfill::engine
