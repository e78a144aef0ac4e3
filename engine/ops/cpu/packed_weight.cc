#include "engine/ops/cpu/packed_weight.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "engine/ops/cpu/amx_tiles.h"

namespace slimfill::engine::cpu {
namespace {

constexpr int64_t kPairBlock = amx::kTilePairs;  // also a cache line of pairs of each of a panel's rows

// Where pairs `pair` and on of column `col` begin in a panel of `pairs`, in numbers, and how far they are apart.
struct PairPlace {
  int64_t first, step;
};
PairPlace PlaceOf(PanelLayout layout, int64_t pair, int64_t pairs, int64_t col) {
  if (layout == PanelLayout::kPairs) return {(pair * kPanelCols + col) * 2, kPanelCols * 2};
  constexpr int64_t kTileCols = amx::kTileCols;
  const int64_t tile_pairs = std::min(kPairBlock, pairs - pair);
  return {(pair * kPanelCols + (col / kTileCols * tile_pairs) * kTileCols + col % kTileCols) * 2, kTileCols * 2};
}

// rows [64, cols] -> panel, in blocks that stay in the nearest cache.
void InterleavePanel(PanelLayout layout, const uint16_t* rows, int64_t cols, uint16_t* panel) {
  const int64_t pairs = cols / 2;
  for (int64_t first = 0; first < pairs; first += kPairBlock) {
    const int64_t last = std::min(first + kPairBlock, pairs);
    for (int64_t row = 0; row < kPanelCols; ++row) {
      const PairPlace place = PlaceOf(layout, first, pairs, row);
      uint16_t* out = panel + place.first;
      for (int64_t pair = first; pair < last; ++pair, out += place.step) {
        std::memcpy(out, rows + row * cols + pair * 2, 2 * sizeof(uint16_t));
      }
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<CpuWeight>> PackCpuWeight(const Context& context, const WeightMatrix& weight) {
  const int64_t rows = weight.rows(), cols = weight.cols();
  if (cols % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a weight matrix has ", cols, " columns, the cpu backend needs an even number: use backend ref"));
  }
  const int64_t panels = (rows + kPanelCols - 1) / kPanelCols;
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer,
                            AllocateHostBuffer(panels * kPanelCols * cols * sizeof(uint16_t)));
  auto packed = std::make_unique<CpuWeight>(rows, cols, std::move(buffer));
  context.pool.ParallelFor(panels, [&](int64_t panel, int worker) {
    const int64_t panel_bytes = kPanelCols * cols * sizeof(uint16_t);
    auto* converted = static_cast<uint16_t*>(
        context.scratch.ForWorker(worker, panel_bytes + cols * static_cast<int64_t>(sizeof(float))));
    float* row_values = reinterpret_cast<float*>(converted + kPanelCols * cols);
    const int64_t first = panel * kPanelCols;
    const int64_t count = std::min<int64_t>(kPanelCols, rows - first);
    for (int64_t i = 0; i < count; ++i) {
      weight.ReadRow(first + i, absl::MakeSpan(row_values, cols));
      context.kernels.store_bf16(row_values, nullptr, cols, converted + i * cols);
    }
    std::fill(converted + count * cols, converted + kPanelCols * cols, uint16_t{0});
    InterleavePanel(context.kernels.panel_layout, converted, cols, packed->panel(panel));
  });
  return packed;
}

}  // namespace slimfill::engine::cpu
