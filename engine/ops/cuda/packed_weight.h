// Weights on the device: bf16, row-major, rows aligned to 16 bytes. Rows travel as the model file stores them, and are
// dequantised on the device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/ops/backend.h"
#include "engine/ops/cuda/stream.h"
#include "engine/ops/cuda/upload_ring.h"

namespace slimfill::engine::cuda {

class CudaWeight : public PackedWeight {
 public:
  CudaWeight(int64_t rows, int64_t cols, int64_t stride, std::unique_ptr<Buffer> values)
      : PackedWeight(rows, cols), stride_(stride), values_(std::move(values)) {}
  int64_t bytes() const override { return values_->bytes(); }
  Matrix matrix() const { return {values_->data(), DType::kBF16, rows_, cols_, stride_}; }

 private:
  const int64_t stride_;
  const std::unique_ptr<Buffer> values_;
};

// Queues: row i of `out` (f32 or bf16) = row row_of(i) of `source`.
void DequantizeToDevice(const WeightMatrix& source, const std::function<int64_t(int64_t)>& row_of, Matrix out,
                        UploadRing& ring, Stream& compute, Health& health);

absl::StatusOr<std::unique_ptr<CudaWeight>> PackWeight(const WeightMatrix& weight, UploadRing& ring, Stream& compute,
                                                       Health& health);

}  // namespace slimfill::engine::cuda
