// How a product is cut into work items, and what is done with an item's sums: the same for weights of every kind.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/ops/backend.h"
#include "engine/ops/cpu/context.h"

namespace slimfill::engine::cpu {

inline constexpr int64_t kSlabPanels = 6;      // most panels of a work item
inline constexpr int64_t kItemsPerThread = 8;  // enough that a core that is shared does not hold up the others

// Between the rows of sums, in numbers: rows a power of two apart would share few places of the nearest cache, and
// loads would wait for stores 4 KiB away that look like theirs.
inline constexpr int64_t kSumPadding = 16;

inline int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t RoundUp(int64_t a, int64_t b) { return DivideUp(a, b) * b; }

// Slabs of panels, outermost, so that consecutive items share a slab's weights in cache, times tiles of rows.
struct Tiling {
  Tiling(RowTiles tiles, int64_t rows, int64_t panels, int threads) : rows(rows), panels(panels) {
    row_tiles = DivideUp(rows, tiles.most);
    tile_rows = RoundUp(DivideUp(rows, row_tiles), tiles.step);
    row_tiles = DivideUp(rows, tile_rows);
    slab_panels = std::clamp<int64_t>(panels * row_tiles / (kItemsPerThread * threads), 1, kSlabPanels);
  }
  int64_t items() const { return DivideUp(panels, slab_panels) * row_tiles; }

  int64_t rows, panels, tile_rows, row_tiles, slab_panels;
};

// Runs body(first row, rows, panel, worker) for every tile of rows and every panel.
template <typename Body>
void ForTiles(const Context& context, RowTiles tiles, int64_t rows, int64_t panels, const Body& body) {
  if (rows == 0) return;
  const Tiling tiling(tiles, rows, panels, context.pool.threads());
  context.pool.ParallelFor(tiling.items(), [&](int64_t item, int worker) {
    const int64_t first_panel = item / tiling.row_tiles * tiling.slab_panels;
    const int64_t first_row = item % tiling.row_tiles * tiling.tile_rows;
    const int64_t count = std::min(tiling.tile_rows, rows - first_row);
    const int64_t end = std::min(first_panel + tiling.slab_panels, panels);
    for (int64_t panel = first_panel; panel < end; ++panel) body(first_row, count, panel, worker);
  });
}

// out (+)= x * weight^T + bias for a weight of `out.cols` rows. multiply(first row, rows, panel, acc, stride) gives the
// products with a panel.
template <typename Multiply>
void GemmTiles(const Context& context, RowTiles tiles, const float* bias, GemmMode mode, Matrix out,
               const Multiply& multiply) {
  ForTiles(context, tiles, out.rows, DivideUp(out.cols, kPanelCols),
           [&](int64_t first_row, int64_t rows, int64_t panel, int worker) {
             constexpr int64_t kStride = kPanelCols + kSumPadding;
             auto* acc = static_cast<float*>(context.scratch.ForWorker(worker, rows * kStride * sizeof(float)));
             multiply(first_row, rows, panel, acc, kStride);
             const int64_t col = panel * kPanelCols;
             const int64_t cols = std::min<int64_t>(kPanelCols, out.cols - col);
             const float* panel_bias = bias == nullptr ? nullptr : bias + col;
             for (int64_t r = 0; r < rows; ++r) {
               const float* row = acc + r * kStride;
               if (out.dtype == DType::kBF16) {
                 context.kernels.store_bf16(row, panel_bias, cols, Bf16Row(out, first_row + r) + col);
               } else if (mode == GemmMode::kAccumulate) {
                 context.kernels.add_f32(row, panel_bias, cols, F32Row(out, first_row + r) + col);
               } else {
                 context.kernels.store_f32(row, panel_bias, cols, F32Row(out, first_row + r) + col);
               }
             }
           });
}

// Calls emit(row, gate, up, col, cols) for every row and every 64 columns of gate and up, the products with the upper
// and lower `ffn` rows of a weight. Where ffn is not a multiple of 64, 64 of up's columns straddle two panels.
template <typename Multiply, typename Emit>
void GateUpTiles(const Context& context, RowTiles tiles, int64_t all_rows, int64_t ffn, const Multiply& multiply,
                 const Emit& emit) {
  const int64_t offset = ffn % kPanelCols;
  const int64_t up_panels = offset == 0 ? 1 : 2;
  const int64_t stride = kPanelCols * (1 + up_panels) + kSumPadding;
  ForTiles(context, tiles, all_rows, DivideUp(ffn, kPanelCols),
           [&](int64_t first_row, int64_t rows, int64_t panel, int worker) {
             auto* acc = static_cast<float*>(context.scratch.ForWorker(worker, rows * stride * sizeof(float)));
             multiply(first_row, rows, panel, acc, stride);
             for (int64_t i = 0; i < up_panels; ++i) {
               const int64_t up = ffn / kPanelCols + panel + i;
               if (up >= DivideUp(2 * ffn, kPanelCols)) break;
               multiply(first_row, rows, up, acc + (1 + i) * kPanelCols, stride);
             }
             const int64_t col = panel * kPanelCols;
             for (int64_t r = 0; r < rows; ++r) {
               const float* gate = acc + r * stride;
               emit(first_row + r, gate, gate + kPanelCols + offset, col, std::min<int64_t>(kPanelCols, ffn - col));
             }
           });
}

}  // namespace slimfill::engine::cpu
