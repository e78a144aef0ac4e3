#include "engine/kv/page_pool.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/metric_names.h"
#include "base/status.h"

namespace slimfill::engine {
namespace {

constexpr int64_t kSlabBytes = 32 << 20;

}  // namespace

PageReservation& PageReservation::operator=(PageReservation&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  pool_ = std::exchange(other.pool_, nullptr);
  pages_ = std::exchange(other.pages_, 0);
  return *this;
}

void PageReservation::Reset() {
  if (pool_ != nullptr) pool_->ChangeReserved(-pages_);
  pool_ = nullptr;
  pages_ = 0;
}

PagePool::PagePool(Backend& backend, Metrics& metrics, int64_t page_bytes, int64_t pages_total)
    : backend_(backend), metrics_(metrics), page_bytes_(page_bytes), pages_total_(pages_total) {
  metrics_.Set(metric::kKvPagesTotal, static_cast<double>(pages_total));
  ChangeReserved(0);
}

// The gauge follows reservations: pages come and go too often.
void PagePool::ChangeReserved(int64_t pages) {
  reserved_ += pages;
  metrics_.Set(metric::kKvPagesUsed, static_cast<double>(reserved_));
}

absl::StatusOr<PageReservation> PagePool::Reserve(int64_t pages) {
  if (pages > pages_total_ - reserved_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("request needs ", pages, " KV pages, ", pages_total_ - reserved_, " of ", pages_total_,
                     " are free: wait for others to finish or give the engine more with --kv-pages-memory"));
  }
  ChangeReserved(pages);
  return PageReservation(this, pages);
}

absl::Status PagePool::AddSlab(int64_t pages) {
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> slab, backend_.Allocate(pages * page_bytes_));
  for (int64_t i = pages - 1; i >= 0; --i) free_.push_back(static_cast<std::byte*>(slab->data()) + i * page_bytes_);
  slabs_.push_back(std::move(slab));
  return absl::OkStatus();
}

absl::Status PagePool::Preallocate() {
  const int64_t needed = pages_total_ * page_bytes_, free = backend_.FreeBytes();
  if (needed > free) {
    return absl::ResourceExhaustedError(absl::StrCat("KV pages are to take ", needed >> 20, " MiB of backend ",
                                                     backend_.name(), ", beside the model ", free >> 20,
                                                     " MiB are free: lower --kv-pages-memory"));
  }
  return AddSlab(pages_total_);
}

absl::StatusOr<std::byte*> PagePool::Take() {
  if (free_.empty()) SLIMFILL_RETURN_IF_ERROR(AddSlab(std::max<int64_t>(1, kSlabBytes / page_bytes_)));
  std::byte* page = free_.back();
  free_.pop_back();
  ++used_;
  return page;
}

void PagePool::GiveBack(std::byte* page) {
  free_.push_back(page);
  --used_;
}

}  // namespace slimfill::engine
