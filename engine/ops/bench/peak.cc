#include "engine/ops/bench/peak.h"

#include <time.h>

#include <algorithm>
#include <cstdint>

#include "engine/ops/host_buffer.h"

namespace slimfill::engine {
namespace {

constexpr size_t kPrefetchWords = 1024;

double ThreadSeconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// Sixteen independent accumulators: more than latency times throughput of any machine so far.
__attribute__((target("avx512f,avx512bf16"))) void DotProducts(int64_t rounds) {
  asm volatile(
      "1:\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm0\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm1\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm2\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm3\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm4\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm5\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm6\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm7\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm8\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm9\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm10\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm11\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm12\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm13\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm14\n"
      "vdpbf16ps %%zmm30, %%zmm31, %%zmm15\n"
      "dec %0\n"
      "jnz 1b\n"
      : "+r"(rounds)::"cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

}  // namespace

double MeasureBf16Peak() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512bf16")) return 0;
  constexpr int64_t kRounds = 2'000'000;
  double best = 1e9;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const double start = ThreadSeconds();
    DotProducts(kRounds);
    best = std::min(best, ThreadSeconds() - start);
  }
  return kRounds * 16 * 64 / best;  // 16 instructions of 16 lanes x 2 products x 2 operations
}

double MeasureReadBandwidth() {
  constexpr size_t kWords = size_t{256} << 17;                        // 256 MiB
  const auto memory = AllocateHostBuffer(kWords * sizeof(uint64_t));  // in huge pages, as weights are
  if (!memory.ok()) return 0;
  auto* const words = static_cast<uint64_t*>((*memory)->data());
  std::fill_n(words, kWords, 1);
  double best = 1e9;
  uint64_t sums[8] = {};
  for (int repeat = 0; repeat < 7; ++repeat) {
    const double start = ThreadSeconds();
    for (size_t i = 0; i < kWords; i += 8) {
      __builtin_prefetch(words + i + kPrefetchWords);
      for (int j = 0; j < 8; ++j) sums[j] += words[i + j];
    }
    asm volatile("" : : "m"(sums) : "memory");
    best = std::min(best, ThreadSeconds() - start);
  }
  return kWords * sizeof(uint64_t) / best;
}

}  // namespace slimfill::engine
