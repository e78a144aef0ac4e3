#include "engine/ops/cpu/gemm.h"

#include <algorithm>

#include "engine/ops/cpu/tiles.h"

namespace slimfill::engine::cpu {
namespace {

constexpr int64_t kChunkCols = 2432;  // of k: with a tile of x and the accumulators in the second-level cache
constexpr int64_t kFfnRows = 1024;    // rows whose inner activations exist at a time

// acc [rows, 64 of stride] = x's rows times a panel.
void MultiplyPanel(const Context& context, ConstMatrix x, const uint16_t* panel, float* acc, int64_t stride) {
  const int64_t chunk = RoundUp(DivideUp(x.cols, DivideUp(x.cols, kChunkCols)), 32);
  for (int64_t k = 0; k < x.cols; k += chunk) {
    context.kernels.gemm_panel(Bf16Row(x, 0) + k, x.stride, x.rows, panel + k * kPanelCols, std::min(chunk, x.cols - k),
                               k > 0, acc, stride);
  }
}

// Multiplies tiles of x with panels of the weight.
auto PanelMultiplier(const Context& context, const ConstMatrix& x, const CpuWeight& weight) {
  return [&](int64_t first_row, int64_t rows, int64_t panel, float* acc, int64_t stride) {
    MultiplyPanel(context, x.Rows(first_row, rows), weight.panel(panel), acc, stride);
  };
}

}  // namespace

void Gemm(const Context& context, ConstMatrix x, const CpuWeight& weight, const float* bias, GemmMode mode,
          Matrix out) {
  GemmTiles(context, context.kernels.row_tiles, bias, mode, out, PanelMultiplier(context, x, weight));
}

void SwiGluFfn(const Context& context, ConstMatrix x, const CpuWeight& gate_up, const CpuWeight& down,
               Matrix residual) {
  const int64_t ffn = down.cols();
  const int64_t part = std::min(x.rows, kFfnRows);
  void* inner = context.scratch.Shared(part * ffn * sizeof(uint16_t));
  for (int64_t first = 0; first < x.rows; first += part) {
    const int64_t rows = std::min(part, x.rows - first);
    const ConstMatrix in = x.Rows(first, rows);
    const Matrix h{inner, DType::kBF16, rows, ffn, ffn};
    GateUpTiles(context, context.kernels.row_tiles, rows, ffn, PanelMultiplier(context, in, gate_up),
                [&](int64_t row, const float* gate, const float* up, int64_t col, int64_t cols) {
                  context.kernels.swiglu(gate, up, cols, Bf16Row(h, row) + col);
                });
    Gemm(context, h, down, nullptr, GemmMode::kAccumulate, residual.Rows(first, rows));
  }
}

}  // namespace slimfill::engine::cpu
