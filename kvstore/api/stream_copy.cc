#include "kvstore/api/stream_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/status.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace slimfill::kvstore {
namespace {

constexpr size_t kLineBytes = 64;

#if defined(__x86_64__)
// REQUIRES: `to` begins a cache line.
void StreamLines(const std::byte* from, std::byte* to, size_t lines) {
  for (; lines > 0; --lines, from += kLineBytes, to += kLineBytes) {
    const auto* source = reinterpret_cast<const __m128i*>(from);
    auto* line = reinterpret_cast<__m128i*>(to);
    const __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
    const __m128i c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);
    _mm_stream_si128(line, a);
    _mm_stream_si128(line + 1, b);
    _mm_stream_si128(line + 2, c);
    _mm_stream_si128(line + 3, d);
  }
}
#else
void StreamLines(const std::byte* from, std::byte* to, size_t lines) { std::memcpy(to, from, lines * kLineBytes); }
#endif

}  // namespace

void StreamFence() {
#if defined(__x86_64__)
  _mm_sfence();  // streaming stores are not ordered with the stores that tell others about them
#endif
}

void StreamCopy(absl::Span<const std::byte> from, absl::Span<std::byte> to) {
  SLIMFILL_CHECK(from.size() == to.size());
  if (from.empty()) return;
  if (from.size() < kStreamFromBytes) {  // the reader finds the bytes in its caches
    std::memcpy(to.data(), from.data(), from.size());
    return;
  }
  StreamCopyUnfenced(from, to);
  StreamFence();
}

void StreamCopyUnfenced(absl::Span<const std::byte> from, absl::Span<std::byte> to) {
  SLIMFILL_CHECK(from.size() == to.size());
  const size_t head = std::min<size_t>(from.size(), -reinterpret_cast<uintptr_t>(to.data()) % kLineBytes);
  const size_t lines = (from.size() - head) / kLineBytes;
  const size_t tail = head + lines * kLineBytes;
  std::memcpy(to.data(), from.data(), head);
  if (lines > 0) StreamLines(from.data() + head, to.data() + head, lines);
  std::memcpy(to.data() + tail, from.data() + tail, from.size() - tail);
}

}  // namespace slimfill::kvstore
