// Matrix products and flash attention on the AVX512-BF16 dot-product instruction; the rest comes from the AVX-512
// level.
#include <immintrin.h>

#include <cstdint>

#include "engine/ops/cpu/kernels.h"

namespace slimfill::engine::cpu {
namespace {

#include "engine/ops/cpu/avx512_bf16_shared.inc"

// Rows of a register tile: 6 x 4 accumulators of 16 columns leave room for 4 vectors of b and a splat, and are twice
// what the instruction's latency asks for.
constexpr int kTileRows = 6;
constexpr int kTileVecs = 4;

__m512bh LoadPairs(const uint16_t* p) { return (__m512bh)_mm512_loadu_si512(p); }

using UnalignedInt __attribute__((may_alias, aligned(1))) = int;
__m512bh SplatPair(const uint16_t* p) { return (__m512bh)_mm512_set1_epi32(*reinterpret_cast<const UnalignedInt*>(p)); }

struct Product {
  const uint16_t* a;
  int64_t a_stride;
  const uint16_t* b;  // packed with `b_cols` columns
  int64_t b_cols;
  int64_t pairs;  // half of k
  bool accumulate;
  float* c;
  int64_t c_stride;
  const uint16_t* ahead;  // a matrix of b's shape that is needed soon, to be brought near meanwhile; or null
};

// c[r][j] (+)= sum over k of a[r][k] * b[k][j] for kRows x (16 * kVecs).
template <int kRows, int kVecs, bool kAhead>
__attribute__((noinline)) void ProductTile(const Product& product) {
  const uint16_t *a = product.a, *b = product.b, *ahead = product.ahead;
  const int64_t a_stride = product.a_stride, b_step = 2 * product.b_cols, c_stride = product.c_stride;
  float* c = product.c;
  __m512 acc[kRows][kVecs];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) {
      acc[r][j] = product.accumulate ? _mm512_loadu_ps(c + r * c_stride + j * kLanes) : _mm512_setzero_ps();
    }
  }
  for (int64_t k = product.pairs; k > 0; --k, a += 2, b += b_step) {
    __m512bh w[kVecs];
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) w[j] = LoadPairs(b + 2 * j * kLanes);
    if constexpr (kAhead) {
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) _mm_prefetch(ahead + 2 * j * kLanes, _MM_HINT_T1);
      ahead += b_step;
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512bh x = SplatPair(a + r * a_stride);
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) acc[r][j] = _mm512_dpbf16_ps(acc[r][j], w[j], x);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) _mm512_storeu_ps(c + r * c_stride + j * kLanes, acc[r][j]);
  }
}

using ProductFn = void (*)(const Product&);

#define SLIMFILL_PRODUCT_ROWS(rows, ahead) \
  { ProductTile<rows, 1, ahead>, ProductTile<rows, 2, ahead>, ProductTile<rows, 3, ahead>, ProductTile<rows, 4, ahead> }
#define SLIMFILL_PRODUCTS(ahead)                                                                          \
  {                                                                                                       \
    SLIMFILL_PRODUCT_ROWS(1, ahead), SLIMFILL_PRODUCT_ROWS(2, ahead), SLIMFILL_PRODUCT_ROWS(3, ahead),    \
        SLIMFILL_PRODUCT_ROWS(4, ahead), SLIMFILL_PRODUCT_ROWS(5, ahead), SLIMFILL_PRODUCT_ROWS(6, ahead) \
  }
constexpr ProductFn kProducts[2][kTileRows][kTileVecs] = {SLIMFILL_PRODUCTS(false), SLIMFILL_PRODUCTS(true)};

void Multiply(int64_t rows, int64_t vecs, const Product& product) {
  kProducts[product.ahead != nullptr][rows - 1][vecs - 1](product);
}

// Rows of the next register tile: as even as whole tiles allow (7 rows are 4 + 3, not 6 + 1).
int64_t TileRows(int64_t rows) {
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  return (rows + tiles - 1) / tiles;
}

void GemmPanel(const uint16_t* x, int64_t x_stride, int64_t rows, const uint16_t* panel, int64_t k, bool accumulate,
               float* acc, int64_t acc_stride) {
  while (rows > 0) {
    const int64_t tile = TileRows(rows);
    Multiply(tile, kTileVecs, {x, x_stride, panel, kPanelCols, k / 2, accumulate, acc, acc_stride, nullptr});
    x += tile * x_stride;
    acc += tile * acc_stride;
    rows -= tile;
  }
}

// --- Attention

// p of `count` rows from `row` on.
void ScoreRows(const AttentionTile& tile, const KeyGroup& group, int row, int count, uint16_t* p) {
  alignas(64) float scores[kTileRows * kGroupKeys];
  for (int page = 0; page < group.pages; ++page) {
    const int vecs = (VisibleSlots(group, row + count - 1, page) + kLanes - 1) / kLanes;
    if (vecs == 0) continue;  // masked below
    const uint16_t* ahead =
        row == 0 && group.next != nullptr && page < group.next->pages ? group.next->k[page] : nullptr;
    Multiply(count, vecs,
             {tile.q + int64_t{row} * tile.head_dim, tile.head_dim, group.k[page], kPageSlots, tile.head_dim / 2, false,
              scores + page * kPageSlots, kGroupKeys, ahead});
  }
  for (int r = 0; r < count; ++r) SoftmaxGroup(tile, group, row + r, scores + r * kGroupKeys, p + r * kGroupKeys);
}

// output += p * v for the rows.
void AddValues(const AttentionTile& tile, const KeyGroup& group, int row, int count, const uint16_t* p) {
  for (int page = 0; page < group.pages; ++page) {
    const int pairs = (VisibleSlots(group, row + count - 1, page) + 1) / 2;
    if (pairs == 0) continue;
    const uint16_t* ahead =
        row == 0 && group.next != nullptr && page < group.next->pages ? group.next->v[page] : nullptr;
    for (int d = 0; d < tile.head_dim;) {
      const int left = (tile.head_dim - d) / kLanes;
      const int vecs = left == 5 ? 3 : left < kTileVecs ? left : kTileVecs;  // 5 is 3 + 2
      Multiply(
          count, vecs,
          {p + page * kPageSlots, kGroupKeys, group.v[page] + 2 * d, tile.head_dim, pairs, true,
           tile.output + int64_t{row} * tile.head_dim + d, tile.head_dim, ahead == nullptr ? nullptr : ahead + 2 * d});
      d += vecs * kLanes;
    }
  }
}

// Scores of all rows first, values after: keys, then values, stay in the nearest cache over the rows.
void Attend(const AttentionTile& tile, const KeyGroup& group) {
  uint16_t* p = static_cast<uint16_t*>(tile.scratch);
  for (int row = 0; row < tile.rows;) {
    const int count = static_cast<int>(TileRows(tile.rows - row));
    ScoreRows(tile, group, row, count, p + int64_t{row} * kGroupKeys);
    row += count;
  }
  for (int row = 0; row < tile.rows;) {
    const int count = static_cast<int>(TileRows(tile.rows - row));
    AddValues(tile, group, row, count, p + int64_t{row} * kGroupKeys);
    row += count;
  }
}

// A page's keys are packed as a panel is.
void ScoreKeys(const uint16_t* q, int64_t q_stride, int64_t rows, int head_dim, const uint16_t* k, float* scores,
               int64_t stride) {
  static_assert(kPanelCols == kPageSlots);
  GemmPanel(q, q_stride, rows, k, head_dim, false, scores, stride);
}

Kernels MakeKernels() {
  Kernels kernels = SharedKernels();
  kernels.gemm_panel = GemmPanel;
  kernels.attend = Attend;
  kernels.score_keys = ScoreKeys;
  return kernels;
}

}  // namespace

const Kernels& Avx512Bf16Kernels() {
  static const Kernels kernels = MakeKernels();
  return kernels;
}

}  // namespace slimfill::engine::cpu
