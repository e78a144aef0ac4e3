// Weights of the CPU backend in 8-bit integers: panels of 64 output features (int8_kernels.h).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/ops/backend.h"
#include "engine/ops/cpu/context.h"
#include "engine/ops/cpu/int8_kernels.h"

namespace slimfill::engine::cpu {

// Groups of a row, and its columns padded to whole steps.
inline int64_t Int8Groups(int64_t cols) { return (cols + kGroupCols - 1) / kGroupCols; }
inline int64_t Int8PaddedCols(int64_t cols) { return (cols + 3) / 4 * 4; }

class Int8Weight : public PackedWeight {
 public:
  Int8Weight(int64_t rows, int64_t cols, std::unique_ptr<Buffer> panels)
      : PackedWeight(rows, cols), buffer_(std::move(panels)) {}
  static int64_t PanelBytes(int64_t cols) {
    return Int8Groups(cols) * kInt8ScaleBytes + Int8PaddedCols(cols) / 4 * kInt8StepBytes;
  }
  int64_t bytes() const override { return buffer_->bytes(); }
  uint8_t* panel(int64_t index) const { return static_cast<uint8_t*>(buffer_->data()) + index * PanelBytes(cols_); }

 private:
  std::unique_ptr<Buffer> buffer_;
};

// Dequantises, quantises and packs, a panel at a time on each worker. A group's scale is its largest magnitude over
// 127, as bf16. RESOURCE_EXHAUSTED without memory.
absl::StatusOr<std::unique_ptr<Int8Weight>> PackInt8Weight(const Context& context, const WeightMatrix& weight);

}  // namespace slimfill::engine::cpu
