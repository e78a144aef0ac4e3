// Matrix products and flash attention on AMX tiles; the rest comes from the AVX-512 level.
#include <immintrin.h>

#include <cstdint>

#include "engine/ops/cpu/amx_tiles.h"
#include "engine/ops/cpu/kernels.h"

namespace slimfill::engine::cpu {
namespace {

#include "engine/ops/cpu/avx512_bf16_shared.inc"

using amx::kTileCols;
using amx::kTileDepth;
using amx::kTilePairs;
using amx::kTileRows;

// --- Products with a weight panel: three tiles of rows times one of columns, or one times two. With more tiles in use
// fewer loads would do, but a core has few registers to rename tiles to, and shares them with its other hardware
// thread: where that one uses tiles too, products with eight are half as fast as with five
// (docs/decisions/0009-amx.md).

constexpr int64_t kPackedStride = kTileCols * 4;  // bytes from pair to pair of a panel's tile
constexpr int64_t kNearSteps = 10;                // so much of k of 48 rows stays in the nearest cache for all columns

struct PanelProduct {
  const uint16_t* x;
  int64_t x_stride;
  const uint16_t* panel;
  int64_t steps;  // tiles of k, of `pairs` pairs each
  int pairs;
  bool accumulate;
  float* acc;
  int64_t acc_stride;
};

template <int kTile>
void BeginSum(const PanelProduct& product, const float* acc) {
  if (product.accumulate) {
    amx::Load<kTile>(acc, product.acc_stride * 4);
  } else {
    amx::Zero<kTile>();
  }
}

// kRows tiles of rows times 16 columns of the panel, from `col` on. Tiles 0 to 2 hold sums, then rows, then columns.
template <int kRows>
void RowTiles(const PanelProduct& product, int col) {
  static_assert(kRows == 2 || kRows == 3);
  const int64_t x_bytes = product.x_stride * 2, acc_bytes = product.acc_stride * 4;
  float* const acc[] = {product.acc + col, product.acc + col + kTileRows * product.acc_stride,
                        product.acc + col + 2 * kTileRows * product.acc_stride};
  BeginSum<0>(product, acc[0]);
  BeginSum<1>(product, acc[1]);
  if constexpr (kRows == 3) BeginSum<2>(product, acc[2]);
  const uint16_t *x = product.x, *packed = product.panel + 2 * col * product.pairs;
  for (int64_t step = 0; step < product.steps; ++step, x += kTileDepth, packed += kTileDepth * kPanelCols) {
    amx::Load<kRows + 1>(packed, kPackedStride);
    amx::Load<kRows>(x, x_bytes);
    amx::Multiply<0, kRows, kRows + 1>();
    amx::Load<kRows>(x + kTileRows * product.x_stride, x_bytes);
    amx::Multiply<1, kRows, kRows + 1>();
    if constexpr (kRows == 3) {
      amx::Load<kRows>(x + 2 * kTileRows * product.x_stride, x_bytes);
      amx::Multiply<2, kRows, kRows + 1>();
    }
  }
  amx::Store<0>(acc[0], acc_bytes);
  amx::Store<1>(acc[1], acc_bytes);
  if constexpr (kRows == 3) amx::Store<2>(acc[2], acc_bytes);
}

// Adds to tile 0 the product of rows with a packed tile and, with kTwo, to tile 1 that with a second one, `second`
// numbers behind it, by way of tiles kRows and kRows + 1.
template <bool kTwo, int kRows = 2>
void MultiplyRows(const uint16_t* rows, int64_t row_bytes, const uint16_t* packed, int64_t packed_bytes,
                  int64_t second = 2 * kTileCols) {
  amx::Load<kRows>(rows, row_bytes);
  amx::Load<kRows + 1>(packed, packed_bytes);
  amx::Multiply<0, kRows, kRows + 1>();
  if constexpr (kTwo) {
    amx::Load<kRows + 1>(packed + second, packed_bytes);
    amx::Multiply<1, kRows, kRows + 1>();
  }
}

// At most 16 rows times 32 columns. Tiles 0 and 1 hold sums, 2 rows, 3 columns.
void OneRowTile(const PanelProduct& product, int col) {
  const int64_t x_bytes = product.x_stride * 2, acc_bytes = product.acc_stride * 4;
  float* const acc = product.acc + col;
  BeginSum<0>(product, acc);
  BeginSum<1>(product, acc + kTileCols);
  const uint16_t *x = product.x, *packed = product.panel + 2 * col * product.pairs;
  for (int64_t step = 0; step < product.steps; ++step, x += kTileDepth, packed += kTileDepth * kPanelCols) {
    MultiplyRows<true>(x, x_bytes, packed, kPackedStride, int64_t{2} * kTileCols * product.pairs);
  }
  amx::Store<0>(acc, acc_bytes);
  amx::Store<1>(acc + kTileCols, acc_bytes);
}

amx::Config PanelConfig(int sums, int rows, int pairs) {
  amx::Config config;
  for (int tile = 0; tile < sums; ++tile) config.SetSums(tile, rows);
  config.SetRows(sums, rows, pairs);
  config.SetPacked(sums + 1, pairs);
  return config;
}

template <int kRows>
void MultiplyRowTiles(PanelProduct& product, int64_t& rows) {
  if (rows < kRows * kTileRows) return;
  amx::Configure(PanelConfig(kRows, kTileRows, product.pairs));
  for (; rows >= kRows * kTileRows; rows -= kRows * kTileRows) {
    for (int64_t first = 0; first < product.steps; first += kNearSteps) {
      PanelProduct part = product;
      part.x += first * kTileDepth;
      part.panel += first * kTileDepth * kPanelCols;
      part.steps = product.steps - first < kNearSteps ? product.steps - first : kNearSteps;
      part.accumulate |= first > 0;
      for (int col = 0; col < kPanelCols; col += kTileCols) RowTiles<kRows>(part, col);
    }
    product.x += kRows * kTileRows * product.x_stride;
    product.acc += kRows * kTileRows * product.acc_stride;
  }
}

void MultiplyPanel(PanelProduct product, int64_t rows) {
  MultiplyRowTiles<3>(product, rows);
  MultiplyRowTiles<2>(product, rows);
  while (rows > 0) {
    const int count = static_cast<int>(rows < kTileRows ? rows : kTileRows);
    amx::Configure(PanelConfig(2, count, product.pairs));
    for (int col = 0; col < kPanelCols; col += 2 * kTileCols) OneRowTile(product, col);
    product.x += count * product.x_stride;
    product.acc += count * product.acc_stride;
    rows -= count;
  }
}

void GemmPanel(const uint16_t* x, int64_t x_stride, int64_t rows, const uint16_t* panel, int64_t k, bool accumulate,
               float* acc, int64_t acc_stride) {
  const int64_t steps = k / kTileDepth, whole = steps * kTileDepth;
  if (steps > 0) MultiplyPanel({x, x_stride, panel, steps, kTilePairs, accumulate, acc, acc_stride}, rows);
  if (whole < k) {
    const int pairs = static_cast<int>(k - whole) / 2;
    MultiplyPanel({x + whole, x_stride, panel + whole * kPanelCols, 1, pairs, accumulate || whole > 0, acc, acc_stride},
                  rows);
  }
  amx::Release();
}

// --- Attention, in blocks of 16 query rows. The softmax of a block and products use different units of a core: while a
// block's rows go through the softmax, the next block's scores and the last block's values are multiplied in between.
//
// Tiles 0 and 1 hold sums, 2 and 3 what they are made of, 4 and 5 the last 16 of head_dim where it is not a multiple of
// 32. Rows behind the last one are multiplied as well and mean nothing.

constexpr int kHalfSlots = 2 * kTileCols;       // of a page: what one step of scores takes
constexpr int64_t kKeyStride = kPageSlots * 4;  // bytes from pair to pair of a page's keys
// Rows of a block in memory, apart so that they share few places of the nearest cache: see kSumPadding in tiles.h.
constexpr int kScoreCols = kGroupKeys + 16, kWeightCols = kGroupKeys + 32;
constexpr int64_t kScoreStride = kScoreCols * 4, kWeightStride = kWeightCols * 2;

struct Block {
  int first, rows;
  alignas(64) float scores[kTileRows * kScoreCols];
  alignas(64) uint16_t p[kTileRows * kWeightCols];

  void Softmax(const AttentionTile& tile, const KeyGroup& group, int row) {
    SoftmaxGroup(tile, group, first + row, scores + row * kScoreCols, p + row * kWeightCols);
  }
};

int VisibleSlots(const KeyGroup& group, const Block& block, int page) {
  return VisibleSlots(group, block.first + block.rows - 1, page);
}

// Adds to tiles 0 and 1 the products of rows with 32 keys of a page, `k` being the first of them.
void MultiplyHeadDim(const uint16_t* q, int64_t q_bytes, const uint16_t* k, int head_dim) {
  int d = 0;
  for (; d + kTileDepth <= head_dim; d += kTileDepth, q += kTileDepth, k += kTileDepth * kPageSlots) {
    MultiplyRows<true>(q, q_bytes, k, kKeyStride);
  }
  if (d < head_dim) MultiplyRows<true, 4>(q, q_bytes, k, kKeyStride);
}

// Scores of a block with a half of a page.
void ScoreHalf(const AttentionTile& tile, const KeyGroup& group, int page, int half, Block& block) {
  if (VisibleSlots(group, block, page) <= half * kHalfSlots) return;  // masked by the softmax
  amx::Zero<0>();
  amx::Zero<1>();
  MultiplyHeadDim(tile.q + int64_t{block.first} * tile.head_dim, int64_t{tile.head_dim} * 2,
                  group.k[page] + half * 2 * kHalfSlots, tile.head_dim);
  float* scores = block.scores + page * kPageSlots + half * kHalfSlots;
  amx::Store<0>(scores, kScoreStride);
  amx::Store<1>(scores + kTileCols, kScoreStride);
}

// sums += p * v for 32 of head_dim, or 16, over whole steps of 32 slots.
template <bool kTwo>
void AddSlots(const AttentionTile& tile, const uint16_t* v, int slots, const uint16_t* p) {
  const int64_t v_bytes = int64_t{tile.head_dim} * 4;
  for (int slot = 0; slot < slots; slot += kTileDepth, p += kTileDepth, v += int64_t{kTileDepth} * tile.head_dim) {
    MultiplyRows<kTwo>(p, kWeightStride, v, v_bytes);
  }
}

// The same over the first `slots` (fewer than 32): what lies in the others must not count, whatever it is.
template <bool kTwo>
void AddSomeSlots(const AttentionTile& tile, const uint16_t* v, int slots, const uint16_t* p) {
  constexpr int kCols = kTwo ? 2 * kTileCols : kTileCols;
  alignas(64) uint16_t some[kTileDepth * kCols];
  for (int pair = 0; pair < kTilePairs; ++pair) {
    const int seen = slots - 2 * pair;
    const __m512i keep = _mm512_set1_epi32(seen >= 2 ? -1 : seen == 1 ? 0xffff : 0);
    for (int col = 0; col < 2 * kCols; col += 2 * kTileCols) {
      const __m512i values = _mm512_loadu_si512(v + int64_t{pair} * 2 * tile.head_dim + col);
      _mm512_store_si512(some + pair * 2 * kCols + col, _mm512_and_si512(values, keep));
    }
  }
  MultiplyRows<kTwo>(p, kWeightStride, some, kCols * 4);
}

// output[.., d to d + 32 (or 16)] += p * v for a block.
template <bool kTwo>
void AddValues(const AttentionTile& tile, const KeyGroup& group, int d, const Block& block) {
  float* output = tile.output + int64_t{block.first} * tile.head_dim + d;
  const int64_t output_bytes = int64_t{tile.head_dim} * 4;
  amx::Load<0>(output, output_bytes);
  if constexpr (kTwo) amx::Load<1>(output + kTileCols, output_bytes);
  for (int page = 0; page < group.pages; ++page) {
    const int visible = VisibleSlots(group, block, page), whole = visible / kTileDepth * kTileDepth;
    const uint16_t *v = group.v[page] + 2 * d, *p = block.p + page * kPageSlots;
    AddSlots<kTwo>(tile, v, whole, p);
    if (whole < visible) AddSomeSlots<kTwo>(tile, v + int64_t{whole} * tile.head_dim, visible - whole, p + whole);
  }
  amx::Store<0>(output, output_bytes);
  if constexpr (kTwo) amx::Store<1>(output + kTileCols, output_bytes);
}

constexpr int kSteps = 4;  // of a block's scores and of its values
static_assert(kGroupPages * kPageSlots / kHalfSlots == kSteps);

void ScoreStep(const AttentionTile& tile, const KeyGroup& group, int step, Block& block) {
  if (step / 2 < group.pages) ScoreHalf(tile, group, step / 2, step % 2, block);
}

void ValueStep(const AttentionTile& tile, const KeyGroup& group, int step, const Block& block) {
  for (int d = step * kHalfSlots; d < tile.head_dim; d += kSteps * kHalfSlots) {
    if (d + kHalfSlots <= tile.head_dim) {
      AddValues<true>(tile, group, d, block);
    } else {
      AddValues<false>(tile, group, d, block);
    }
  }
}

amx::Config AttentionConfig(int head_dim, int rows) {
  amx::Config config;
  config.SetSums(0, rows);
  config.SetSums(1, rows);
  config.SetRows(2, rows, kTilePairs);
  config.SetPacked(3, kTilePairs);
  if (head_dim % kTileDepth != 0) {
    config.SetRows(4, rows, kTilePairs / 2);
    config.SetPacked(5, kTilePairs / 2);
  }
  return config;
}

void Attend(const AttentionTile& tile, const KeyGroup& group) {
  Block blocks[3];
  const int count = (tile.rows + kTileRows - 1) / kTileRows;
  const auto block = [&](int i) -> Block& { return blocks[i % 3]; };
  const auto begin = [&](int i) {
    block(i).first = i * kTileRows;
    block(i).rows = tile.rows - i * kTileRows < kTileRows ? tile.rows - i * kTileRows : kTileRows;
  };
  amx::Configure(AttentionConfig(tile.head_dim, kTileRows));
  begin(0);
  for (int step = 0; step < kSteps; ++step) ScoreStep(tile, group, step, block(0));
  for (int i = 0; i < count; ++i) {
    if (i + 1 < count) begin(i + 1);
    for (int row = 0; row < kTileRows; ++row) {
      if (row < block(i).rows) block(i).Softmax(tile, group, row);
      if (row % 4 == 1 && i + 1 < count) ScoreStep(tile, group, row / 4, block(i + 1));
      if (row % 4 == 3 && i > 0) ValueStep(tile, group, row / 4, block(i - 1));
    }
  }
  for (int step = 0; step < kSteps; ++step) ValueStep(tile, group, step, block(count - 1));
  amx::Release();
}

// Scores of rows with a page's keys, as numbers: the attention's own go straight into its softmax.
void ScoreKeys(const uint16_t* q, int64_t q_stride, int64_t rows, int head_dim, const uint16_t* k, float* scores,
               int64_t stride) {
  while (rows > 0) {
    const int count = static_cast<int>(rows < kTileRows ? rows : kTileRows);
    amx::Configure(AttentionConfig(head_dim, count));
    for (int col = 0; col < kPageSlots; col += kHalfSlots) {
      amx::Zero<0>();
      amx::Zero<1>();
      MultiplyHeadDim(q, q_stride * 2, k + 2 * col, head_dim);
      amx::Store<0>(scores + col, stride * 4);
      amx::Store<1>(scores + col + kTileCols, stride * 4);
    }
    q += count * q_stride;
    scores += count * stride;
    rows -= count;
  }
  amx::Release();
}

Kernels MakeKernels() {
  Kernels kernels = SharedKernels();
  kernels.panel_layout = PanelLayout::kTiles;
  kernels.row_tiles = {.most = 144, .step = 3 * kTileRows};
  kernels.gemm_panel = GemmPanel;
  kernels.attend = Attend;
  kernels.score_keys = ScoreKeys;
  return kernels;
}

}  // namespace

const Kernels& AmxKernels() {
  static const Kernels kernels = MakeKernels();
  return kernels;
}

}  // namespace slimfill::engine::cpu
