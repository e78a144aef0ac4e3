#include "engine/ops/cuda/kernels/tile.cuh"

namespace slimfill::engine::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kUnitTokens = 8;
constexpr int kUnitsPerPage = kTileRows / kUnitTokens;

// One thread block a unit.
__global__ void __launch_bounds__(kThreads)
    UnitMeanKeysKernel(const KvPage* pages, int32_t end_position, float* out, HeadShape shape) {
  const KvPage page = pages[blockIdx.x / kUnitsPerPage];
  const int slot = static_cast<int>(blockIdx.x) % kUnitsPerPage * kUnitTokens;
  const int count = min(max(end_position - (page.block * kTileRows + slot), 0), kUnitTokens);
  const int cols = shape.kv_heads * shape.head_dim;
  for (int j = threadIdx.x; j < cols; j += kThreads) {
    const int kv_head = j / shape.head_dim, d = j % shape.head_dim;
    const __nv_bfloat16* key = page.data + (int64_t{2} * kv_head * kTileRows + slot) * shape.head_dim + d;
    float mean = 0.0f;
    for (int t = 0; t < count; ++t) {
      mean += __bfloat162float(key[t * shape.head_dim]) / static_cast<float>(count);
    }
    out[int64_t{blockIdx.x} * cols + j] = mean;
  }
}

}  // namespace

cudaError_t UnitMeanKeys(const KvPage* pages, int page_count, int32_t end_position, float* out, HeadShape shape,
                         cudaStream_t stream) {
  return Launch(UnitMeanKeysKernel, dim3(page_count * kUnitsPerPage), dim3(kThreads), 0, stream, pages, end_position,
                out, shape);
}

}  // namespace slimfill::engine::cuda
