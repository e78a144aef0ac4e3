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

// --- Products with a weight panel. Tiles 0 to 3 hold sums, 4 and 5 rows of x, 6 and 7 parts of the panel.

constexpr int kPanelTiles = kPanelCols / kTileCols;
constexpr int64_t kPanelStride = kPanelCols * 4;  // bytes from pair to pair of a panel

struct PanelProduct {
  const uint16_t* x;
  int64_t x_stride;
  const uint16_t* panel;
  int64_t steps;  // products of `pairs` pairs each
  bool accumulate;
  float* acc;
  int64_t acc_stride;
};

template <int kTile>
void BeginSums(bool accumulate, const float* acc, int64_t stride) {
  if (accumulate) {
    amx::Load<kTile>(acc, stride);
  } else {
    amx::Zero<kTile>();
  }
}

// Two tiles of rows times two tiles of columns: every tile that is loaded serves two products.
void TwoRowTiles(const PanelProduct& product) {
  const int64_t x_bytes = product.x_stride * 2, acc_bytes = product.acc_stride * 4;
  for (int col = 0; col < kPanelCols; col += 2 * kTileCols) {
    float *const upper = product.acc + col, *const lower = upper + kTileRows * product.acc_stride;
    BeginSums<0>(product.accumulate, upper, acc_bytes);
    BeginSums<1>(product.accumulate, upper + kTileCols, acc_bytes);
    BeginSums<2>(product.accumulate, lower, acc_bytes);
    BeginSums<3>(product.accumulate, lower + kTileCols, acc_bytes);
    const uint16_t *x = product.x, *packed = product.panel + 2 * col;
    for (int64_t step = 0; step < product.steps; ++step, x += kTileDepth, packed += kTilePairs * 2 * kPanelCols) {
      amx::Load<6>(packed, kPanelStride);
      amx::Load<4>(x, x_bytes);
      amx::Multiply<0, 4, 6>();
      amx::Load<7>(packed + 2 * kTileCols, kPanelStride);
      amx::Multiply<1, 4, 7>();
      amx::Load<5>(x + kTileRows * product.x_stride, x_bytes);
      amx::Multiply<2, 5, 6>();
      amx::Multiply<3, 5, 7>();
    }
    amx::Store<0>(upper, acc_bytes);
    amx::Store<1>(upper + kTileCols, acc_bytes);
    amx::Store<2>(lower, acc_bytes);
    amx::Store<3>(lower + kTileCols, acc_bytes);
  }
}

// At most 16 rows times all of the panel.
void OneRowTile(const PanelProduct& product) {
  const int64_t x_bytes = product.x_stride * 2, acc_bytes = product.acc_stride * 4;
  BeginSums<0>(product.accumulate, product.acc, acc_bytes);
  BeginSums<1>(product.accumulate, product.acc + kTileCols, acc_bytes);
  BeginSums<2>(product.accumulate, product.acc + 2 * kTileCols, acc_bytes);
  BeginSums<3>(product.accumulate, product.acc + 3 * kTileCols, acc_bytes);
  const uint16_t *x = product.x, *packed = product.panel;
  for (int64_t step = 0; step < product.steps; ++step, x += kTileDepth, packed += kTilePairs * 2 * kPanelCols) {
    amx::Load<4>(x, x_bytes);
    amx::Load<6>(packed, kPanelStride);
    amx::Multiply<0, 4, 6>();
    amx::Load<7>(packed + 2 * kTileCols, kPanelStride);
    amx::Multiply<1, 4, 7>();
    amx::Load<6>(packed + 4 * kTileCols, kPanelStride);
    amx::Multiply<2, 4, 6>();
    amx::Load<7>(packed + 6 * kTileCols, kPanelStride);
    amx::Multiply<3, 4, 7>();
  }
  amx::Store<0>(product.acc, acc_bytes);
  amx::Store<1>(product.acc + kTileCols, acc_bytes);
  amx::Store<2>(product.acc + 2 * kTileCols, acc_bytes);
  amx::Store<3>(product.acc + 3 * kTileCols, acc_bytes);
}
static_assert(kPanelTiles == 4);

amx::Config PanelConfig(int upper_rows, int lower_rows, int pairs) {
  const bool one = lower_rows == 0;
  amx::Config config;
  for (int tile = 0; tile < 4; ++tile) config.SetSums(tile, one || tile < 2 ? upper_rows : lower_rows);
  config.SetRows(4, upper_rows, pairs);
  if (!one) config.SetRows(5, lower_rows, pairs);
  config.SetPacked(6, pairs);
  config.SetPacked(7, pairs);
  return config;
}

// `rows` rows times `steps` times `pairs` pairs of a panel.
void MultiplyPanel(PanelProduct product, int64_t rows, int pairs) {
  constexpr int64_t kBlock = 2 * kTileRows;
  if (rows >= kBlock) amx::Configure(PanelConfig(kTileRows, kTileRows, pairs));
  for (; rows >= kBlock; rows -= kBlock) {
    TwoRowTiles(product);
    product.x += kBlock * product.x_stride;
    product.acc += kBlock * product.acc_stride;
  }
  if (rows > kTileRows) {
    amx::Configure(PanelConfig(kTileRows, static_cast<int>(rows) - kTileRows, pairs));
    TwoRowTiles(product);
  } else if (rows > 0) {
    amx::Configure(PanelConfig(static_cast<int>(rows), 0, pairs));
    OneRowTile(product);
  }
}

void GemmPanel(const uint16_t* x, int64_t x_stride, int64_t rows, const uint16_t* panel, int64_t k, bool accumulate,
               float* acc, int64_t acc_stride) {
  const int64_t steps = k / kTileDepth, whole = steps * kTileDepth;
  if (steps > 0) MultiplyPanel({x, x_stride, panel, steps, accumulate, acc, acc_stride}, rows, kTilePairs);
  if (whole < k) {
    MultiplyPanel({x + whole, x_stride, panel + whole * kPanelCols, 1, accumulate || whole > 0, acc, acc_stride}, rows,
                  static_cast<int>(k - whole) / 2);
  }
  amx::Release();
}

// --- Attention, in blocks of 16 query rows. The softmax of a block and products use different units of a core: while a
// block's rows go through the softmax, the next block's scores and the last block's values are multiplied in between.
//
// Tiles 0 and 1 hold scores, 2 and 3 what they are made of, 4 and 5 output, 6 and 7 the last 16 of head_dim, where it
// is not a multiple of 32. Rows behind the last one are multiplied as well and mean nothing.

constexpr int kHalfSlots = 2 * kTileCols;  // of a page: what one step of scores takes
constexpr int64_t kScoreStride = kGroupKeys * 4, kWeightStride = kGroupKeys * 2;

struct Block {
  int first, rows;
  alignas(64) float scores[kTileRows * kGroupKeys];
  alignas(64) uint16_t p[kTileRows * kGroupKeys];
};

int VisibleSlots(const KeyGroup& group, const Block& block, int page) {
  return VisibleSlots(group, block.first + block.rows - 1, page);
}

// Scores of a block with a half of a page.
void ScoreHalf(const AttentionTile& tile, const KeyGroup& group, int page, int half, Block& block) {
  if (VisibleSlots(group, block, page) <= half * kHalfSlots) return;  // masked by the softmax
  const uint16_t* q = tile.q + int64_t{block.first} * tile.head_dim;
  const uint16_t* k = group.k[page] + half * 2 * kHalfSlots;
  const int64_t q_bytes = int64_t{tile.head_dim} * 2;
  constexpr int64_t kKeyStride = kPageSlots * 4;
  amx::Zero<0>();
  amx::Zero<1>();
  int d = 0;
  for (; d + kTileDepth <= tile.head_dim; d += kTileDepth, q += kTileDepth, k += kTileDepth * kPageSlots) {
    amx::Load<2>(q, q_bytes);
    amx::Load<3>(k, kKeyStride);
    amx::Multiply<0, 2, 3>();
    amx::Load<3>(k + 2 * kTileCols, kKeyStride);
    amx::Multiply<1, 2, 3>();
  }
  if (d < tile.head_dim) {
    amx::Load<6>(q, q_bytes);
    amx::Load<7>(k, kKeyStride);
    amx::Multiply<0, 6, 7>();
    amx::Load<7>(k + 2 * kTileCols, kKeyStride);
    amx::Multiply<1, 6, 7>();
  }
  float* scores = block.scores + page * kPageSlots + half * kHalfSlots;
  amx::Store<0>(scores, kScoreStride);
  amx::Store<1>(scores + kTileCols, kScoreStride);
}

// output += p * v for `cols` (16 or 32) of head_dim, over whole steps of 32 slots.
template <bool kTwo>
void AddSlots(const AttentionTile& tile, const uint16_t* v, int slots, const uint16_t* p) {
  const int64_t v_bytes = int64_t{tile.head_dim} * 4;
  for (int slot = 0; slot < slots; slot += kTileDepth, p += kTileDepth, v += int64_t{kTileDepth} * tile.head_dim) {
    amx::Load<2>(p, kWeightStride);
    amx::Load<3>(v, v_bytes);
    amx::Multiply<4, 2, 3>();
    if constexpr (kTwo) {
      amx::Load<3>(v + 2 * kTileCols, v_bytes);
      amx::Multiply<5, 2, 3>();
    }
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
  amx::Load<2>(p, kWeightStride);
  amx::Load<3>(some, kCols * 4);
  amx::Multiply<4, 2, 3>();
  if constexpr (kTwo) {
    amx::Load<3>(some + 2 * kTileCols, kCols * 4);
    amx::Multiply<5, 2, 3>();
  }
}

// output[.., d to d + 32 (or 16)] += p * v for a block.
template <bool kTwo>
void AddValues(const AttentionTile& tile, const KeyGroup& group, int d, const Block& block) {
  float* output = tile.output + int64_t{block.first} * tile.head_dim + d;
  const int64_t output_bytes = int64_t{tile.head_dim} * 4;
  amx::Load<4>(output, output_bytes);
  if constexpr (kTwo) amx::Load<5>(output + kTileCols, output_bytes);
  for (int page = 0; page < group.pages; ++page) {
    const int visible = VisibleSlots(group, block, page), whole = visible / kTileDepth * kTileDepth;
    const uint16_t *v = group.v[page] + 2 * d, *p = block.p + page * kPageSlots;
    AddSlots<kTwo>(tile, v, whole, p);
    if (whole < visible) AddSomeSlots<kTwo>(tile, v + int64_t{whole} * tile.head_dim, visible - whole, p + whole);
  }
  amx::Store<4>(output, output_bytes);
  if constexpr (kTwo) amx::Store<5>(output + kTileCols, output_bytes);
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

void BlockRow(const AttentionTile& tile, const KeyGroup& group, int row, Block& block) {
  float* scores = block.scores + row * kGroupKeys;
  uint16_t* p = block.p + row * kGroupKeys;
  if (group.visible != nullptr && !MaskRow(group, block.first + row, scores)) {
    for (int j = 0; j < kGroupKeys; j += 2 * kLanes) _mm512_store_si512(p + j, _mm512_setzero_si512());
  } else if (group.pages == 1) {
    SoftmaxRow<kPageVecs>(tile, block.first + row, scores, p);
  } else {
    SoftmaxRow<kGroupVecs>(tile, block.first + row, scores, p);
  }
}

amx::Config AttentionConfig(int head_dim) {
  amx::Config config;
  constexpr int kSums[] = {0, 1, 4, 5};
  for (int tile : kSums) config.SetSums(tile, kTileRows);
  config.SetRows(2, kTileRows, kTilePairs);
  config.SetPacked(3, kTilePairs);
  if (head_dim % kTileDepth != 0) {
    config.SetRows(6, kTileRows, kTilePairs / 2);
    config.SetPacked(7, kTilePairs / 2);
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
  amx::Configure(AttentionConfig(tile.head_dim));
  begin(0);
  for (int step = 0; step < kSteps; ++step) ScoreStep(tile, group, step, block(0));
  for (int i = 0; i < count; ++i) {
    if (i + 1 < count) begin(i + 1);
    for (int row = 0; row < kTileRows; ++row) {
      if (row < block(i).rows) BlockRow(tile, group, row, block(i));
      if (row % 4 == 1 && i + 1 < count) ScoreStep(tile, group, row / 4, block(i + 1));
      if (row % 4 == 3 && i > 0) ValueStep(tile, group, row / 4, block(i - 1));
    }
  }
  for (int step = 0; step < kSteps; ++step) ValueStep(tile, group, step, block(count - 1));
  amx::Release();
}

Kernels MakeKernels() {
  Kernels kernels = SharedKernels();
  kernels.row_tiles = {.most = 128, .step = 2 * kTileRows};
  kernels.gemm_panel = GemmPanel;
  kernels.attend = Attend;
  return kernels;
}

}  // namespace

const Kernels& AmxKernels() {
  static const Kernels kernels = MakeKernels();
  return kernels;
}

}  // namespace slimfill::engine::cpu
