// Random draws that are the same on every machine: the standard fixes std::mt19937_64's numbers, but not what its
// distributions and std::shuffle make of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace slimfill::eval {

// FNV-1a of 64 bits.
inline uint64_t HashText(absl::string_view text, uint64_t hash = 0xcbf29ce484222325u) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

class Rng {
 public:
  explicit Rng(uint64_t seed) : engine_(seed) {}

  // 0 to `bound` - 1, which must be positive. Numbers past the last whole multiple are drawn again: no bias.
  uint64_t Below(uint64_t bound) {
    const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    uint64_t number = engine_();
    while (number >= limit) number = engine_();
    return number % bound;
  }
  int64_t Between(int64_t first, int64_t last) { return first + static_cast<int64_t>(Below(last - first + 1)); }
  // [0, 1), of 53 bits: exact in a double.
  double Unit() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  bool Chance(double probability) { return Unit() < probability; }

  template <typename T>
  const T& Pick(const std::vector<T>& from) {
    return from[Below(from.size())];
  }
  template <typename T>
  void Shuffle(std::vector<T>& items) {
    for (size_t left = items.size(); left > 1; --left) std::swap(items[left - 1], items[Below(left)]);
  }
  // `count` of the items, all different, in random order. `from` must have that many.
  template <typename T>
  std::vector<T> Sample(std::vector<T> from, size_t count) {
    Shuffle(from);
    from.resize(count);
    return from;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace slimfill::eval
