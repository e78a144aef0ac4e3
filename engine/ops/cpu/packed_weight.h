// Weights of the CPU backend: bf16 in panels of 64 output features, packed as the level wants them (PanelLayout).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/ops/backend.h"
#include "engine/ops/cpu/context.h"

namespace slimfill::engine::cpu {

class CpuWeight : public PackedWeight {
 public:
  CpuWeight(int64_t rows, int64_t cols, std::unique_ptr<Buffer> panels)
      : PackedWeight(rows, cols), buffer_(std::move(panels)) {}
  int64_t bytes() const override { return buffer_->bytes(); }
  int64_t panels() const { return (rows_ + kPanelCols - 1) / kPanelCols; }
  uint16_t* panel(int64_t index) const { return static_cast<uint16_t*>(buffer_->data()) + index * kPanelCols * cols_; }

 private:
  std::unique_ptr<Buffer> buffer_;
};

// Dequantises and packs, a panel at a time on each worker. INVALID_ARGUMENT for an odd number of columns,
// RESOURCE_EXHAUSTED without memory.
absl::StatusOr<std::unique_ptr<CpuWeight>> PackCpuWeight(const Context& context, const WeightMatrix& weight);

}  // namespace slimfill::engine::cpu
