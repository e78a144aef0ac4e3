#include "engine/ops/cuda/kernels/dev.cuh"
#include "engine/ops/cuda/kernels/kernels.h"

namespace slimfill::engine::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// Four neighbouring elements of a row, zeros behind its end. Elements go to the same threads in the same order however
// the row is aligned.
template <bool kAligned>
__device__ __forceinline__ float4 LoadFour(const float* row, int first, int cols) {
  if constexpr (kAligned) return *reinterpret_cast<const float4*>(row + first);
  float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  v.x = row[first];
  if (first + 1 < cols) v.y = row[first + 1];
  if (first + 2 < cols) v.z = row[first + 2];
  if (first + 3 < cols) v.w = row[first + 3];
  return v;
}

template <bool kAligned>
__device__ __forceinline__ void StoreFour(__nv_bfloat16* row, int first, int cols, float4 v) {
  if constexpr (kAligned) {
    *reinterpret_cast<uint2*>(row + first) = make_uint2(PackBf16(v.x, v.y), PackBf16(v.z, v.w));
  } else {
    row[first] = __float2bfloat16_rn(v.x);
    if (first + 1 < cols) row[first + 1] = __float2bfloat16_rn(v.y);
    if (first + 2 < cols) row[first + 2] = __float2bfloat16_rn(v.z);
    if (first + 3 < cols) row[first + 3] = __float2bfloat16_rn(v.w);
  }
}

// One thread block a row.
template <bool kAligned>
__global__ void __launch_bounds__(kThreads)
    RmsNormKernel(const float* x, int64_t x_stride, const float* weight, float epsilon, __nv_bfloat16* out,
                  int64_t out_stride, int cols) {
  SMEM_ARRAY(float, partial, kWarps);
  const float* row = x + blockIdx.x * x_stride;
  float sum = 0.0f;
  for (int first = threadIdx.x * 4; first < cols; first += kThreads * 4) {
    const float4 v = LoadFour<kAligned>(row, first, cols);
    sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  sum = WarpSum(sum);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) sum += partial[i];
  const float scale = 1.0f / sqrtf(sum / static_cast<float>(cols) + epsilon);
  for (int first = threadIdx.x * 4; first < cols; first += kThreads * 4) {
    const float4 v = LoadFour<kAligned>(row, first, cols), w = LoadFour<kAligned>(weight, first, cols);
    StoreFour<kAligned>(out + blockIdx.x * out_stride, first, cols,
                        make_float4(v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w));
  }
}

constexpr int kHeadWarps = 4;

// One warp a head.
__global__ void __launch_bounds__(kHeadWarps * 32)
    NormHeadsKernel(__nv_bfloat16* qkv, int64_t stride, const float* q_weight, const float* k_weight, float epsilon,
                    HeadShape shape) {
  const int head = blockIdx.y * kHeadWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (head >= shape.heads + shape.kv_heads) return;
  __nv_bfloat16* x = qkv + blockIdx.x * stride + int64_t{head} * shape.head_dim;
  const float* weight = head < shape.heads ? q_weight : k_weight;
  float values[4] = {0.0f, 0.0f, 0.0f, 0.0f};  // head_dim is at most 128
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (lane + 32 * i < shape.head_dim) values[i] = __bfloat162float(x[lane + 32 * i]);
    sum += values[i] * values[i];
  }
  const float scale = 1.0f / sqrtf(WarpSum(sum) / static_cast<float>(shape.head_dim) + epsilon);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int d = lane + 32 * i;
    if (d < shape.head_dim) x[d] = __float2bfloat16_rn(values[i] * scale * weight[d]);
  }
}

bool Aligned(const void* p, int64_t row_bytes, size_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % bytes == 0 && row_bytes % static_cast<int64_t>(bytes) == 0;
}

}  // namespace

cudaError_t RmsNorm(const float* x, int64_t x_stride, const float* weight, float epsilon, __nv_bfloat16* out,
                    int64_t out_stride, int rows, int cols, cudaStream_t stream) {
  const bool aligned =
      cols % 4 == 0 && Aligned(x, x_stride * 4, 16) && Aligned(weight, 0, 16) && Aligned(out, out_stride * 2, 8);
  return Launch(aligned ? RmsNormKernel<true> : RmsNormKernel<false>, dim3(rows), dim3(kThreads), 0, stream, x,
                x_stride, weight, epsilon, out, out_stride, cols);
}

cudaError_t NormHeads(__nv_bfloat16* qkv, int64_t stride, const float* q_weight, const float* k_weight, float epsilon,
                      int rows, HeadShape shape, cudaStream_t stream) {
  const unsigned groups = (shape.heads + shape.kv_heads + kHeadWarps - 1) / kHeadWarps;
  return Launch(NormHeadsKernel, dim3(rows, groups), dim3(kHeadWarps * 32), 0, stream, qkv, stride, q_weight, k_weight,
                epsilon, shape);
}

}  // namespace slimfill::engine::cuda
