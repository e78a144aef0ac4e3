#include "engine/ops/cpu/gemm_int8.h"

#include <algorithm>

#include "engine/ops/cpu/tiles.h"

namespace slimfill::engine::cpu {
namespace {

constexpr RowTiles kRowTiles = {.most = 96, .step = 6};
constexpr int64_t kChunkGroups = 7;   // of k: a panel's part is about what the nearest cache holds
constexpr int64_t kFewRows = 3;       // a register tile: nothing to share a chunk with
constexpr int64_t kItemGroups = 512;  // of a work item that quantises
constexpr int64_t kFfnRows = 1024;    // rows whose inner activations exist at a time

// Quantised rows in memory of the caller's.
class Int8Matrix {
 public:
  Int8Matrix(void* memory, int64_t rows, int64_t cols)
      : cols_(cols), values_(static_cast<int8_t*>(memory)), groups_(nullptr) {
    groups_ = reinterpret_cast<Int8Group*>(values_ + rows * Stride(cols));
  }
  static int64_t Bytes(int64_t rows, int64_t cols) {
    return rows * (Stride(cols) + Int8Groups(cols) * static_cast<int64_t>(sizeof(Int8Group)));
  }

  int64_t cols() const { return cols_; }
  int8_t* values(int64_t row) const { return values_ + row * Stride(cols_); }
  Int8Group* groups(int64_t row) const { return groups_ + row * Int8Groups(cols_); }
  Int8Rows Rows(int64_t first, int64_t count) const {
    return {values(first), Stride(cols_), groups(first), Int8Groups(cols_), count};
  }

 private:
  static int64_t Stride(int64_t cols) { return RoundUp(cols, 64); }

  int64_t cols_;
  int8_t* values_;
  Int8Group* groups_;
};

void Quantize(const Context& context, ConstMatrix x, const Int8Matrix& to) {
  ForRows(context, x.rows, std::max<int64_t>(1, kItemGroups / Int8Groups(x.cols)),
          [&](int64_t first, int64_t count, int) {
            for (int64_t i = first; i < first + count; ++i) {
              context.int8.quantize(Bf16Row(x, i), x.cols, to.values(i), to.groups(i));
            }
          });
}

// acc [rows, 64 of stride] = x's rows times a panel.
void MultiplyPanel(const Context& context, Int8Rows x, int64_t cols, const uint8_t* panel, float* acc, int64_t stride) {
  const int64_t padded = Int8PaddedCols(cols);
  const int64_t chunk = x.rows <= kFewRows ? padded : kChunkGroups * kGroupCols;
  for (int64_t k = 0; k < padded; k += chunk) {
    const int64_t count = std::min(chunk, padded - k);
    context.int8.gemm_panel(x, panel, count, k > 0, acc, stride);
    x.values += count;
    x.groups += count / kGroupCols;
    panel += count / kGroupCols * kInt8ScaleBytes + count / 4 * kInt8StepBytes;
  }
}

auto PanelMultiplier(const Context& context, const Int8Matrix& x, const Int8Weight& weight) {
  return [&](int64_t first_row, int64_t rows, int64_t panel, float* acc, int64_t stride) {
    MultiplyPanel(context, x.Rows(first_row, rows), x.cols(), weight.panel(panel), acc, stride);
  };
}

}  // namespace

void Int8Gemm(const Context& context, ConstMatrix x, const Int8Weight& weight, const float* bias, GemmMode mode,
              Matrix out) {
  const Int8Matrix in(context.scratch.Shared(Int8Matrix::Bytes(x.rows, x.cols)), x.rows, x.cols);
  Quantize(context, x, in);
  GemmTiles(context, kRowTiles, bias, mode, out, PanelMultiplier(context, in, weight));
}

void Int8SwiGluFfn(const Context& context, ConstMatrix x, const Int8Weight& gate_up, const Int8Weight& down,
                   Matrix residual) {
  static_assert(kGroupCols == kPanelCols, "64 columns of h, as they come, are quantised as a group");
  const int64_t ffn = down.cols();
  const int64_t part = std::min(x.rows, kFfnRows);
  const int64_t h_bytes = RoundUp(Int8Matrix::Bytes(part, ffn), 64);
  auto* memory = static_cast<std::byte*>(context.scratch.Shared(h_bytes + Int8Matrix::Bytes(part, x.cols)));
  for (int64_t first = 0; first < x.rows; first += part) {
    const int64_t rows = std::min(part, x.rows - first);
    const Int8Matrix h(memory, rows, ffn), in(memory + h_bytes, rows, x.cols);
    Quantize(context, x.Rows(first, rows), in);
    GateUpTiles(context, kRowTiles, rows, ffn, PanelMultiplier(context, in, gate_up),
                [&](int64_t row, const float* gate, const float* up, int64_t col, int64_t cols) {
                  uint16_t product[kPanelCols];
                  context.kernels.swiglu(gate, up, cols, product);
                  context.int8.quantize(product, cols, h.values(row) + col, h.groups(row) + col / kGroupCols);
                });
    GemmTiles(context, kRowTiles, nullptr, GemmMode::kAccumulate, residual.Rows(first, rows),
              PanelMultiplier(context, h, down));
  }
}

}  // namespace slimfill::engine::cpu
