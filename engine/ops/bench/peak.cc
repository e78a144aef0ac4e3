#include "engine/ops/bench/peak.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <thread>
#include <vector>

#include "base/clock_seconds.h"
#include "engine/ops/cpu/amx_tiles.h"
#include "engine/ops/cpu/isa.h"
#include "engine/ops/host_buffer.h"

namespace slimfill::engine {
namespace {

constexpr size_t kPrefetchWords = 1024;

// A loop of instructions without dependences from round to round: twelve accumulators are more than latency times
// throughput of any machine so far.
#define SLIMFILL_ONE(instruction, width, target) \
  instruction " %%" width "mm14, %%" width "mm15, %%" width "mm" #target "\n"
#define SLIMFILL_LOOP(instruction, width) \
  asm volatile("1:\n" SLIMFILL_ONE(instruction, width, 0) SLIMFILL_ONE(instruction, width, 1)                          \
                   SLIMFILL_ONE(instruction, width, 2) SLIMFILL_ONE(instruction, width, 3)                             \
                       SLIMFILL_ONE(instruction, width, 4) SLIMFILL_ONE(instruction, width, 5)                         \
                           SLIMFILL_ONE(instruction, width, 6) SLIMFILL_ONE(instruction, width, 7)                     \
                               SLIMFILL_ONE(instruction, width, 8) SLIMFILL_ONE(instruction, width, 9)                 \
                                   SLIMFILL_ONE(instruction, width, 10) SLIMFILL_ONE(instruction, width, 11)           \
               "dec %0\n"                                                                                              \
               "jnz 1b\n"                                                                                              \
               : "+r"(rounds)::"cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",   \
                 "xmm10", "xmm11")
constexpr int kLoopInstructions = 12;

__attribute__((target("avx512f,avx512bf16"))) void Bf16DotProducts(int64_t rounds) { SLIMFILL_LOOP("vdpbf16ps", "z"); }
__attribute__((target("avx512f,avx512vnni"))) void Int8DotProducts(int64_t rounds) { SLIMFILL_LOOP("vpdpbusd", "z"); }
__attribute__((target("avx2,fma"))) void F32MultiplyAdds(int64_t rounds) { SLIMFILL_LOOP("vfmadd231ps", "y"); }
__attribute__((target("avx2"))) void Int16DotProducts(int64_t rounds) { SLIMFILL_LOOP("vpmaddwd", "y"); }
#undef SLIMFILL_LOOP
#undef SLIMFILL_ONE

// The same of tiles: two tiles of rows times two packed ones, which come from the nearest cache. With eight tiles in
// all, no product of matrices does with fewer loads than one for each product of tiles.
void Bf16TileProducts(int64_t rounds) {
  using namespace cpu::amx;
  constexpr int64_t kTileBytes = kTileRows * 64;
  alignas(64) static const std::array<std::byte, 4 * kTileBytes> tiles = {};
  Config config;
  for (int tile = 0; tile < 8; ++tile) config.SetSums(tile, kTileRows);
  Configure(config);
  for (rounds *= kLoopInstructions / 4; rounds > 0; --rounds) {
    Load<6>(&tiles[2 * kTileBytes], 64);
    Load<4>(&tiles[0], 64);
    Multiply<0, 4, 6>();
    Load<7>(&tiles[3 * kTileBytes], 64);
    Multiply<1, 4, 7>();
    Load<5>(&tiles[kTileBytes], 64);
    Multiply<2, 5, 6>();
    Multiply<3, 5, 7>();
  }
  Release();
}
constexpr int kTileOperations = cpu::amx::kTileRows * cpu::amx::kTileCols * cpu::amx::kTileDepth * 2;

// The sum over threads of what each measures by `rate(thread)`; all begin together.
double SumOverThreads(int threads, const std::function<double(int thread)>& rate) {
  std::barrier start(threads);
  std::vector<double> rates(threads);
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      start.arrive_and_wait();
      rates[i] = rate(i);
    });
  }
  for (std::thread& thread : running) thread.join();
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

// Operations per second of a loop of instructions of so many operations each.
double MeasureLoop(int threads, void (*loop)(int64_t rounds), int operations) {
  return SumOverThreads(threads, [&](int) {
    // Long enough for a core to throttle, where it does.
    const int64_t rounds = int64_t{5'000'000'000} / operations / kLoopInstructions;
    double best = 1e9;
    loop(rounds);
    for (int repeat = 0; repeat < 5; ++repeat) {
      const double start = ClockSeconds(CLOCK_THREAD_CPUTIME_ID);
      loop(rounds);
      best = std::min(best, ClockSeconds(CLOCK_THREAD_CPUTIME_ID) - start);
    }
    return static_cast<double>(rounds) * kLoopInstructions * operations / best;
  });
}

double ReadSeconds(const uint64_t* words, size_t count) {
  uint64_t sums[8] = {};
  const double start = ClockSeconds(CLOCK_THREAD_CPUTIME_ID);
  for (size_t i = 0; i < count; i += 8) {
    __builtin_prefetch(words + i + kPrefetchWords);
    for (int j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  asm volatile("" : : "m"(sums) : "memory");
  return ClockSeconds(CLOCK_THREAD_CPUTIME_ID) - start;
}

}  // namespace

double MeasureBf16Peak(int threads) {
  if (cpu::ChooseIsaLevel("amx").ok()) return MeasureLoop(threads, Bf16TileProducts, kTileOperations);
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bf16")) {
    return MeasureLoop(threads, Bf16DotProducts, 64);  // 16 lanes x 2 products x 2 operations
  }
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  return MeasureLoop(threads, F32MultiplyAdds, 16);  // 8 lanes x 2 operations
}

double MeasureInt8Peak(int threads) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512vnni")) {
    return MeasureLoop(threads, Int8DotProducts, 128);  // 16 lanes x 4 products x 2 operations
  }
  if (!__builtin_cpu_supports("avx2")) return 0;
  return MeasureLoop(threads, Int16DotProducts, 32);  // 8 lanes x 2 products x 2 operations
}

double MeasureReadBandwidth(int threads) {
  // Each thread reads its own part, well past the caches.
  const size_t words = std::max<size_t>((size_t{256} << 20) / threads, size_t{64} << 20) / sizeof(uint64_t) / 8 * 8;
  const auto memory = AllocateHostBuffer(threads * words * sizeof(uint64_t));  // in huge pages, as weights are
  if (!memory.ok()) return 0;
  auto* const all = static_cast<uint64_t*>((*memory)->data());
  std::fill_n(all, threads * words, 1);
  return SumOverThreads(threads, [&](int thread) {
    double best = 1e9;
    for (int repeat = 0; repeat < 7; ++repeat) best = std::min(best, ReadSeconds(all + thread * words, words));
    return words * sizeof(uint64_t) / best;
  });
}

}  // namespace slimfill::engine
