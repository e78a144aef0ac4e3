// Which ranges of an address space are free: best fit, lowest address first, neighbours merged.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"

namespace slimfill::kvstore {

// Not thread safe. Offsets and sizes are what the caller makes of them; none is rounded.
class ExtentMap {
 public:
  explicit ExtentMap(uint64_t size) { Add(0, size); }

  // The offset of `size` free units that are no longer free; nothing when no free range is as long. REQUIRES: size > 0.
  std::optional<uint64_t> Take(uint64_t size);
  // REQUIRES: the range came from Take.
  void Return(uint64_t offset, uint64_t size);

 private:
  void Add(uint64_t offset, uint64_t size);
  void Remove(uint64_t offset, uint64_t size);

  absl::btree_map<uint64_t, uint64_t> by_offset_;           // free ranges: offset to size
  absl::btree_set<std::pair<uint64_t, uint64_t>> by_size_;  // the same: size, offset
};

}  // namespace slimfill::kvstore
