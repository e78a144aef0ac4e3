#include "engine/ops/cuda/packed_weight.h"

#include <algorithm>
#include <cstring>

#include "base/status.h"
#include "engine/ops/cuda/device.h"
#include "engine/ops/cuda/kernels/kernels.h"

namespace slimfill::engine::cuda {
namespace {

constexpr int64_t kStrideElements = 8;  // 16 bytes

cudaError_t Launch(GgmlType type, const uint8_t* stored, int64_t row_bytes, Matrix out, cudaStream_t stream) {
  const int rows = static_cast<int>(out.rows), cols = static_cast<int>(out.cols);
  return out.dtype == DType::kF32
             ? DequantizeRows(type, stored, row_bytes, static_cast<float*>(out.data), out.stride, rows, cols, stream)
             : DequantizeRows(type, stored, row_bytes, static_cast<__nv_bfloat16*>(out.data), out.stride, rows, cols,
                              stream);
}

}  // namespace

void DequantizeToDevice(const WeightMatrix& source, const std::function<int64_t(int64_t)>& row_of, Matrix out,
                        UploadRing& ring, Stream& compute, Health& health) {
  int64_t row = 0;
  while (row < out.rows) {
    WeightMatrix::StoredRow stored = source.FindStoredRow(row_of(row));
    const GgmlType type = stored.type;
    const auto row_bytes = static_cast<int64_t>(stored.bytes.size());
    const int64_t most = std::min(out.rows - row, std::max<int64_t>(1, ring.max_piece_bytes() / row_bytes));
    const auto piece = ring.Reserve<uint8_t>(most * row_bytes);
    // As many rows of one type as there are.
    int64_t count = 0;
    for (;; stored = source.FindStoredRow(row_of(row + count))) {
      if (stored.type != type) break;
      std::memcpy(piece.host + count * row_bytes, stored.bytes.data(), stored.bytes.size());
      if (++count == most) break;
    }
    ring.Send();
    health.Check(Launch(type, piece.device, row_bytes, out.Rows(row, count), compute.get()), "dequantising");
    row += count;
  }
}

absl::StatusOr<std::unique_ptr<CudaWeight>> PackWeight(const WeightMatrix& weight, UploadRing& ring, Stream& compute,
                                                       Health& health) {
  const int64_t stride = (weight.cols() + kStrideElements - 1) / kStrideElements * kStrideElements;
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> values,
                            AllocateOnDevice(weight.rows() * stride * DTypeBytes(DType::kBF16), compute.get()));
  auto packed = std::make_unique<CudaWeight>(weight.rows(), weight.cols(), stride, std::move(values));
  DequantizeToDevice(
      weight, [](int64_t row) { return row; }, packed->matrix(), ring, compute, health);
  SLIMFILL_RETURN_IF_ERROR(health.status());
  return packed;
}

}  // namespace slimfill::engine::cuda
