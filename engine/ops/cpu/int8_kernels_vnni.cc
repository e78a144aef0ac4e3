// Integer matrix products on the AVX512-VNNI dot-product instruction.
#include <immintrin.h>

#include "engine/ops/cpu/int8_quantize.inc"

namespace slimfill::engine::cpu {
namespace {

// Rows of a register tile: 3 x 4 integer accumulators of 16 columns, as many in f32, four vectors of weights and a
// splat fill the registers; twelve chains are three times what the instruction's latency asks for.
constexpr int kTileRows = 3;
constexpr int kVecs = 4;
constexpr int kLanes = 16;
constexpr int kLineBytes = 64;

using UnalignedInt __attribute__((may_alias, aligned(1))) = int;
__m512i SplatFour(const int8_t* p) { return _mm512_set1_epi32(*reinterpret_cast<const UnalignedInt*>(p)); }

__m512 ScalesOf(const uint8_t* bf16) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bf16));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

// dot[r][j] += `steps` times four columns.
template <int kRows>
inline __attribute__((always_inline)) void AddSteps(const int8_t* x, int64_t x_stride, const uint8_t* panel, int steps,
                                                    __m512i (&dot)[kRows][kVecs]) {
#pragma GCC unroll 2
  for (int step = 0; step < steps; ++step, x += 4, panel += kInt8StepBytes) {
    __m512i w[kVecs];
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) w[j] = _mm512_loadu_si512(panel + j * 4 * kLanes);
#pragma GCC unroll 3
    for (int r = 0; r < kRows; ++r) {
      const __m512i four = SplatFour(x + r * x_stride);
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) dot[r][j] = _mm512_dpbusd_epi32(dot[r][j], w[j], four);
    }
  }
}

// Memory to bring near meanwhile: so many lines with each group.
struct Ahead {
  const uint8_t* memory;
  int lines;
};

template <int kRows>
__attribute__((noinline)) void GemmTile(const Int8Rows& x, const uint8_t* panel, int64_t cols, Ahead ahead,
                                        bool accumulate, float* c, int64_t c_stride) {
  __m512 acc[kRows][kVecs];
#pragma GCC unroll 3
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) {
      acc[r][j] = accumulate ? _mm512_loadu_ps(c + r * c_stride + j * kLanes) : _mm512_setzero_ps();
    }
  }
  const int8_t* values = x.values;
  const Int8Group* groups = x.groups;
  const int64_t x_stride = x.stride, group_stride = x.group_stride;
  for (; cols > 0; cols -= kGroupCols, ++groups) {
    const uint8_t* scales = panel;
    panel += kInt8ScaleBytes;
    __m512i dot[kRows][kVecs];
#pragma GCC unroll 3
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) dot[r][j] = _mm512_set1_epi32(groups[r * group_stride].offset);
    }
    for (int i = 0; i < ahead.lines; ++i, ahead.memory += kLineBytes) _mm_prefetch(ahead.memory, _MM_HINT_T1);
    const int steps = (cols < kGroupCols ? static_cast<int>(cols) : kGroupCols) / 4;
    AddSteps<kRows>(values, x_stride, panel, steps, dot);
    values += 4 * steps;
    panel += steps * kInt8StepBytes;
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) {
      const __m512 weight_scale = ScalesOf(scales + j * 2 * kLanes);
#pragma GCC unroll 3
      for (int r = 0; r < kRows; ++r) {
        const __m512 scale = _mm512_mul_ps(weight_scale, _mm512_set1_ps(groups[r * group_stride].scale));
        acc[r][j] = _mm512_add_ps(acc[r][j], _mm512_mul_ps(_mm512_cvtepi32_ps(dot[r][j]), scale));
      }
    }
  }
#pragma GCC unroll 3
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) _mm512_storeu_ps(c + r * c_stride + j * kLanes, acc[r][j]);
  }
}

void GemmPanel(const Int8Rows& x, const uint8_t* panel, int64_t cols, bool accumulate, float* acc, int64_t acc_stride) {
  constexpr decltype(&GemmTile<1>) kTiles[kTileRows] = {GemmTile<1>, GemmTile<2>, GemmTile<3>};
  Int8Rows rest = x;
  // What follows the panel's part in memory is needed next: the tiles bring it near, each its share. A single tile has
  // no time for that.
  const int64_t groups = (cols + kGroupCols - 1) / kGroupCols, tiles = (x.rows + kTileRows - 1) / kTileRows;
  const int64_t bytes = groups * kInt8ScaleBytes + cols / 4 * kInt8StepBytes, shares = tiles * groups * kLineBytes;
  Ahead ahead{panel + bytes, tiles == 1 ? 0 : static_cast<int>((bytes + shares - 1) / shares)};
  while (rest.rows > 0) {
    const int64_t tile = rest.rows == 4 ? 2 : rest.rows < kTileRows ? rest.rows : kTileRows;
    kTiles[tile - 1](rest, panel, cols, ahead, accumulate, acc, acc_stride);
    rest.values += tile * rest.stride;
    rest.groups += tile * rest.group_stride;
    rest.rows -= tile;
    acc += tile * acc_stride;
    ahead.memory += groups * ahead.lines * kLineBytes;
  }
}

constexpr Int8Kernels kKernels = {.name = "avx512_vnni", .quantize = Quantize, .gemm_panel = GemmPanel};

}  // namespace

const Int8Kernels& Avx512VnniInt8Kernels() { return kKernels; }

}  // namespace slimfill::engine::cpu
