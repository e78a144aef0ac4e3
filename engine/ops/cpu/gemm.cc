#include "engine/ops/cpu/gemm.h"

#include <algorithm>

namespace slimfill::engine::cpu {
namespace {

// A tile of x, a panel's part of a k chunk and the accumulators share a core's second-level cache.
constexpr int64_t kTileRows = 96;
constexpr int64_t kChunkCols = 2432;
constexpr int64_t kSlabPanels = 6;      // most panels of a work item
constexpr int64_t kItemsPerThread = 8;  // enough that a core that is shared does not hold up the others
constexpr int64_t kFfnRows = 1024;      // rows whose inner activations exist at a time

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t a, int64_t b) { return DivideUp(a, b) * b; }

// How a product is cut into work items: slabs of panels, outermost, so that consecutive items share a slab's weights
// in cache, times tiles of rows.
struct Tiling {
  Tiling(int64_t rows, int64_t panels, int threads) : rows(rows), panels(panels) {
    row_tiles = DivideUp(rows, kTileRows);
    tile_rows = RoundUp(DivideUp(rows, row_tiles), 6);  // whole register tiles
    row_tiles = DivideUp(rows, tile_rows);
    slab_panels = std::clamp<int64_t>(panels * row_tiles / (kItemsPerThread * threads), 1, kSlabPanels);
  }
  int64_t items() const { return DivideUp(panels, slab_panels) * row_tiles; }

  int64_t rows, panels, tile_rows, row_tiles, slab_panels;
};

// acc [rows, 64 of stride] = x's rows times a panel.
void MultiplyPanel(const Context& context, ConstMatrix x, const uint16_t* panel, float* acc, int64_t stride) {
  const int64_t chunk = RoundUp(DivideUp(x.cols, DivideUp(x.cols, kChunkCols)), 32);
  for (int64_t k = 0; k < x.cols; k += chunk) {
    context.kernels.gemm_panel(Bf16Row(x, 0) + k, x.stride, x.rows, panel + k * kPanelCols, std::min(chunk, x.cols - k),
                               k > 0, acc, stride);
  }
}

// Runs body(tile of x, its first row, panel, worker) for every tile and panel.
template <typename Body>
void ForTiles(const Context& context, ConstMatrix x, int64_t panels, const Body& body) {
  if (x.rows == 0) return;
  const Tiling tiling(x.rows, panels, context.pool.threads());
  context.pool.ParallelFor(tiling.items(), [&](int64_t item, int worker) {
    const int64_t first_panel = item / tiling.row_tiles * tiling.slab_panels;
    const int64_t first_row = item % tiling.row_tiles * tiling.tile_rows;
    const ConstMatrix tile = x.Rows(first_row, std::min(tiling.tile_rows, x.rows - first_row));
    const int64_t end = std::min(first_panel + tiling.slab_panels, panels);
    for (int64_t panel = first_panel; panel < end; ++panel) body(tile, first_row, panel, worker);
  });
}

// h = silu(gate) * up for all rows of x. Where ffn is not a multiple of 64, a panel of up's columns straddles two of
// the weight's panels.
void GateUp(const Context& context, ConstMatrix x, const CpuWeight& gate_up, int64_t ffn, Matrix h) {
  const int64_t offset = ffn % kPanelCols;
  const int64_t up_panels = offset == 0 ? 1 : 2;
  const int64_t stride = kPanelCols * (1 + up_panels);
  ForTiles(context, x, DivideUp(ffn, kPanelCols), [&](ConstMatrix tile, int64_t first_row, int64_t panel, int worker) {
    auto* acc = static_cast<float*>(context.scratch.ForWorker(worker, tile.rows * stride * sizeof(float)));
    MultiplyPanel(context, tile, gate_up.panel(panel), acc, stride);
    for (int64_t i = 0; i < up_panels; ++i) {
      const int64_t up = ffn / kPanelCols + panel + i;
      if (up >= gate_up.panels()) break;
      MultiplyPanel(context, tile, gate_up.panel(up), acc + (1 + i) * kPanelCols, stride);
    }
    const int64_t col = panel * kPanelCols;
    for (int64_t r = 0; r < tile.rows; ++r) {
      const float* gate = acc + r * stride;
      context.kernels.swiglu(gate, gate + kPanelCols + offset, std::min<int64_t>(kPanelCols, ffn - col),
                             Bf16Row(h, first_row + r) + col);
    }
  });
}

}  // namespace

void Gemm(const Context& context, ConstMatrix x, const CpuWeight& weight, const float* bias, GemmMode mode,
          Matrix out) {
  ForTiles(context, x, weight.panels(), [&](ConstMatrix tile, int64_t first_row, int64_t panel, int worker) {
    auto* acc = static_cast<float*>(context.scratch.ForWorker(worker, tile.rows * kPanelCols * sizeof(float)));
    MultiplyPanel(context, tile, weight.panel(panel), acc, kPanelCols);
    const int64_t col = panel * kPanelCols;
    const int64_t cols = std::min<int64_t>(kPanelCols, weight.rows() - col);
    const float* panel_bias = bias == nullptr ? nullptr : bias + col;
    for (int64_t r = 0; r < tile.rows; ++r) {
      const float* row = acc + r * kPanelCols;
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

void SwiGluFfn(const Context& context, ConstMatrix x, const CpuWeight& gate_up, const CpuWeight& down,
               Matrix residual) {
  const int64_t ffn = down.cols();
  const int64_t part = std::min(x.rows, kFfnRows);
  void* inner = context.scratch.Shared(part * ffn * sizeof(uint16_t));
  for (int64_t first = 0; first < x.rows; first += part) {
    const int64_t rows = std::min(part, x.rows - first);
    const Matrix h{inner, DType::kBF16, rows, ffn, ffn};
    GateUp(context, x.Rows(first, rows), gate_up, ffn, h);
    Gemm(context, h, down, nullptr, GemmMode::kAccumulate, residual.Rows(first, rows));
  }
}

}  // namespace slimfill::engine::cpu
