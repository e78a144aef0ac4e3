// Integer matrix products on AVX2. Its unsigned-times-signed instruction saturates at 16 bits, so bytes are widened:
// even and odd ones apart, which needs no shuffles. For many rows that is done once for all of them.
#include <immintrin.h>

#include "engine/ops/cpu/int8_quantize.inc"

namespace slimfill::engine::cpu {
namespace {

constexpr int kLanes = 8;
constexpr int kPartVecs = 2;  // vectors of 8 panel rows that are computed together
constexpr int kPartLanes = kPartVecs * kLanes;
constexpr int kTileRows = 4;

using UnalignedInt __attribute__((may_alias, aligned(1))) = int;

__m256 ScalesOf(const uint8_t* bf16) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bf16));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

// dot[r][j] += `steps` times four columns, for 16 rows of the panel.
template <int kRows>
inline __attribute__((always_inline)) void AddSteps(const int8_t* x, int64_t x_stride, const uint8_t* panel, int steps,
                                                    __m256i (&dot)[kRows][kPartVecs]) {
  for (int step = 0; step < steps; ++step, x += 4, panel += kInt8StepBytes) {
    __m256i even[kPartVecs], odd[kPartVecs];
#pragma GCC unroll 2
    for (int j = 0; j < kPartVecs; ++j) {
      const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + j * 4 * kLanes));
      even[j] = _mm256_and_si256(w, _mm256_set1_epi16(0xff));
      odd[j] = _mm256_srli_epi16(w, 8);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256i four = _mm256_set1_epi32(*reinterpret_cast<const UnalignedInt*>(x + r * x_stride));
      const __m256i x_even = _mm256_srai_epi16(_mm256_slli_epi16(four, 8), 8), x_odd = _mm256_srai_epi16(four, 8);
#pragma GCC unroll 2
      for (int j = 0; j < kPartVecs; ++j) {
        const __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(even[j], x_even), _mm256_madd_epi16(odd[j], x_odd));
        dot[r][j] = _mm256_add_epi32(dot[r][j], sum);
      }
    }
  }
}

// c += a group's integer sums times its scales, for 16 rows of the panel.
template <int kRows>
inline __attribute__((always_inline)) void AddScaled(const __m256i (&dot)[kRows][kPartVecs], const Int8Group* groups,
                                                     int64_t group_stride, const uint8_t* scales, float* c,
                                                     int64_t c_stride) {
#pragma GCC unroll 2
  for (int j = 0; j < kPartVecs; ++j) {
    const __m256 weight_scale = ScalesOf(scales + j * 2 * kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      float* sum = c + r * c_stride + j * kLanes;
      const __m256 scale = _mm256_mul_ps(weight_scale, _mm256_set1_ps(groups[r * group_stride].scale));
      const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(dot[r][j]), scale);
      _mm256_storeu_ps(sum, _mm256_add_ps(_mm256_loadu_ps(sum), product));
    }
  }
}

// Adds a part of the panel, 16 of its rows: `panel` and c begin there, `scales` are found at the same place.
template <int kRows>
__attribute__((noinline)) void GemmTile(const Int8Rows& x, const uint8_t* panel, int part, int64_t cols, float* c,
                                        int64_t c_stride) {
  const int8_t* values = x.values;
  const Int8Group* groups = x.groups;
  for (; cols > 0; cols -= kGroupCols, ++groups) {
    const uint8_t* scales = panel + part * 2 * kPartLanes;
    panel += kInt8ScaleBytes;
    __m256i dot[kRows][kPartVecs];
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kPartVecs; ++j) dot[r][j] = _mm256_set1_epi32(groups[r * x.group_stride].offset);
    }
    const int steps = (cols < kGroupCols ? static_cast<int>(cols) : kGroupCols) / 4;
    AddSteps<kRows>(values, x.stride, panel + part * 4 * kPartLanes, steps, dot);
    values += 4 * steps;
    panel += steps * kInt8StepBytes;
    AddScaled<kRows>(dot, groups, x.group_stride, scales, c, c_stride);
  }
}

// --- Many rows

constexpr int kGroupSteps = kGroupCols / 4;
constexpr int kWidenedRows = 96;
constexpr int64_t kManyRows = 8;  // below, widening the weights costs more than it saves

// Of the four columns of each step the even two side by side, [0], and the odd two, [1].
struct WidenedRow {
  int32_t pairs[2][kGroupSteps];
};
struct WidenedWeights {
  __m256i pairs[2][kGroupSteps][kPartVecs];
};

// A group of `rows` rows; columns behind `steps` are not used.
void WidenRows(const int8_t* x, int64_t stride, int64_t rows, int steps, WidenedRow* widened) {
  for (int64_t r = 0; r < rows; ++r, x += stride, ++widened) {
    alignas(32) int8_t padded[kGroupCols];
    const int8_t* row = x;
    if (steps < kGroupSteps) {
      std::memcpy(padded, x, 4 * steps);
      row = padded;
    }
    for (int i = 0; i < kGroupSteps; i += kLanes) {
      const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + 4 * i));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(widened->pairs[0] + i),
                          _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(widened->pairs[1] + i), _mm256_srai_epi16(bytes, 8));
    }
  }
}

void WidenWeights(const uint8_t* panel, int steps, WidenedWeights& widened) {
  for (int step = 0; step < steps; ++step, panel += kInt8StepBytes) {
    for (int j = 0; j < kPartVecs; ++j) {
      const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + j * 4 * kLanes));
      widened.pairs[0][step][j] = _mm256_and_si256(w, _mm256_set1_epi16(0xff));
      widened.pairs[1][step][j] = _mm256_srli_epi16(w, 8);
    }
  }
}

// Adds a group's products to c, for 16 rows of the panel.
template <int kRows>
__attribute__((noinline)) void GroupTile(const WidenedRow* x, const Int8Group* groups, int64_t group_stride,
                                         const WidenedWeights& w, int steps, const uint8_t* scales, float* c,
                                         int64_t c_stride) {
  __m256i dot[kRows][kPartVecs];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int j = 0; j < kPartVecs; ++j) dot[r][j] = _mm256_set1_epi32(groups[r * group_stride].offset);
  }
  for (int odd = 0; odd < 2; ++odd) {
    for (int step = 0; step < steps; ++step) {
      const __m256i* pairs = w.pairs[odd][step];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m256i pair = _mm256_set1_epi32(x[r].pairs[odd][step]);
#pragma GCC unroll 2
        for (int j = 0; j < kPartVecs; ++j) {
          dot[r][j] = _mm256_add_epi32(dot[r][j], _mm256_madd_epi16(pairs[j], pair));
        }
      }
    }
  }
  AddScaled<kRows>(dot, groups, group_stride, scales, c, c_stride);
}

// acc += x's rows, at most kWidenedRows, times the panel.
void AddManyRows(const Int8Rows& x, const uint8_t* panel, int64_t cols, float* acc, int64_t acc_stride) {
  alignas(32) WidenedRow rows[kWidenedRows];
  WidenedWeights weights;
  const int8_t* values = x.values;
  const Int8Group* groups = x.groups;
  for (; cols > 0; cols -= kGroupCols, ++groups, values += kGroupCols) {
    const int steps = (cols < kGroupCols ? static_cast<int>(cols) : kGroupCols) / 4;
    WidenRows(values, x.stride, x.rows, steps, rows);
    for (int part = 0; part < kInt8PanelRows / kPartLanes; ++part) {
      const uint8_t* scales = panel + part * 2 * kPartLanes;
      WidenWeights(panel + kInt8ScaleBytes + part * 4 * kPartLanes, steps, weights);
      float* c = acc + part * kPartLanes;
      int64_t r = 0;
      for (; r + kTileRows <= x.rows; r += kTileRows) {
        GroupTile<kTileRows>(rows + r, groups + r * x.group_stride, x.group_stride, weights, steps, scales,
                             c + r * acc_stride, acc_stride);
      }
      for (; r < x.rows; ++r) {
        GroupTile<1>(rows + r, groups + r * x.group_stride, x.group_stride, weights, steps, scales, c + r * acc_stride,
                     acc_stride);
      }
    }
    panel += kInt8ScaleBytes + steps * kInt8StepBytes;
  }
}

void GemmPanel(const Int8Rows& x, const uint8_t* panel, int64_t cols, bool accumulate, float* acc, int64_t acc_stride) {
  const auto rows = [&](int64_t first, int64_t count) {
    return Int8Rows{x.values + first * x.stride, x.stride, x.groups + first * x.group_stride, x.group_stride, count};
  };
  for (int64_t r = 0; r < x.rows && !accumulate; ++r) {
    std::memset(acc + r * acc_stride, 0, kInt8PanelRows * sizeof(float));
  }
  int64_t r = 0;
  for (int64_t left = x.rows; left >= kManyRows; left = x.rows - r) {
    const int64_t count = left < kWidenedRows ? left : kWidenedRows;
    AddManyRows(rows(r, count), panel, cols, acc + r * acc_stride, acc_stride);
    r += count;
  }
  while (r < x.rows) {
    const int64_t tile = x.rows - r >= kTileRows ? kTileRows : 1;
    for (int part = 0; part < kInt8PanelRows / kPartLanes; ++part) {
      float* c = acc + r * acc_stride + part * kPartLanes;
      (tile == 1 ? GemmTile<1> : GemmTile<kTileRows>)(rows(r, tile), panel, part, cols, c, acc_stride);
    }
    r += tile;
  }
}

constexpr Int8Kernels kKernels = {.name = "avx2", .quantize = Quantize, .gemm_panel = GemmPanel};

}  // namespace

const Int8Kernels& Avx2Int8Kernels() { return kKernels; }

}  // namespace slimfill::engine::cpu
