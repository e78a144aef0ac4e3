// Bytes of device memory that an op uses, and lists of such.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "engine/tensor/matrix.h"

namespace slimfill::engine::cuda {

struct MemoryRange {
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;

  MemoryRange() = default;
  MemoryRange(const void* data, int64_t bytes)
      : begin(static_cast<const std::byte*>(data)), end(static_cast<const std::byte*>(data) + bytes) {}
  // From the first row's first element to the last row's last.
  explicit MemoryRange(const ConstMatrix& m)
      : MemoryRange(m.data, m.rows == 0 ? 0 : ((m.rows - 1) * m.stride + m.cols) * DTypeBytes(m.dtype)) {}

  bool Overlaps(const MemoryRange& other) const { return begin < other.end && other.begin < end; }
};

// Beyond a bound it stops counting and holds everything: nobody waits too little.
class MemoryRanges {
 public:
  void Add(const MemoryRange& range) {
    if (ranges_.size() < kMost) {
      ranges_.push_back(range);
    } else {
      everything_ = true;
    }
  }
  void Clear() {
    ranges_.clear();
    everything_ = false;
  }
  bool empty() const { return ranges_.empty(); }
  bool Overlap(const MemoryRange& range) const {
    return everything_ || std::any_of(ranges_.begin(), ranges_.end(), [&](const auto& r) { return r.Overlaps(range); });
  }

 private:
  static constexpr size_t kMost = 1 << 16;
  std::vector<MemoryRange> ranges_;
  bool everything_ = false;
};

}  // namespace slimfill::engine::cuda
