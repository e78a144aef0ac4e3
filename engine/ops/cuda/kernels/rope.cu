#include "engine/ops/cuda/kernels/dev.cuh"
#include "engine/ops/cuda/kernels/kernels.h"

namespace slimfill::engine::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPageTokens = 64;

// One thread block a row; a thread rotates two neighbouring pairs (i, i + half) and (i + 1, i + 1 + half) at a time.
__global__ void __launch_bounds__(kThreads)
    RopeAppendKernel(__nv_bfloat16* qkv, int64_t stride, const int32_t* positions, __nv_bfloat16* const* pages,
                     const float* cos_sin, HeadShape shape) {
  const int head_dim = shape.head_dim, half = head_dim / 2, steps = half / 2;
  const int32_t position = positions[blockIdx.x];
  const float* angles = cos_sin + int64_t{position} * head_dim;
  __nv_bfloat16* row = qkv + blockIdx.x * stride;
  const int64_t head_pitch = int64_t{2} * kPageTokens * head_dim;  // of a page: keys, then values
  __nv_bfloat16* slot = pages[blockIdx.x] + int64_t{position % kPageTokens} * head_dim;

  for (int item = threadIdx.x; item < (shape.heads + shape.kv_heads) * steps; item += kThreads) {
    const int head = item / steps, i = item % steps * 2;
    const __nv_bfloat16* from = row + head * head_dim;
    const float2 a = UnpackBf16(*reinterpret_cast<const uint32_t*>(from + i));
    const float2 b = UnpackBf16(*reinterpret_cast<const uint32_t*>(from + half + i));
    const float cos0 = angles[i], cos1 = angles[i + 1], sin0 = angles[half + i], sin1 = angles[half + i + 1];
    __nv_bfloat16* to = head < shape.heads ? row + head * head_dim : slot + (head - shape.heads) * head_pitch;
    *reinterpret_cast<uint32_t*>(to + i) = PackBf16(a.x * cos0 - b.x * sin0, a.y * cos1 - b.y * sin1);
    *reinterpret_cast<uint32_t*>(to + half + i) = PackBf16(b.x * cos0 + a.x * sin0, b.y * cos1 + a.y * sin1);
  }
  const __nv_bfloat16* values = row + (shape.heads + shape.kv_heads) * head_dim;
  for (int item = threadIdx.x; item < shape.kv_heads * half; item += kThreads) {
    const int head = item / half, d = item % half * 2;
    *reinterpret_cast<uint32_t*>(slot + head * head_pitch + kPageTokens * head_dim + d) =
        *reinterpret_cast<const uint32_t*>(values + head * head_dim + d);
  }
}

}  // namespace

cudaError_t RopeAppend(__nv_bfloat16* qkv, int64_t stride, const int32_t* positions, __nv_bfloat16* const* pages,
                       const float* cos_sin, int rows, HeadShape shape, cudaStream_t stream) {
  return Launch(RopeAppendKernel, dim3(rows), dim3(kThreads), 0, stream, qkv, stride, positions, pages, cos_sin, shape);
}

}  // namespace slimfill::engine::cuda
