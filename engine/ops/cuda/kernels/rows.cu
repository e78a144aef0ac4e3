// Elementwise work on rows, and the choice of a row's largest element.
#include "engine/ops/cuda/kernels/dev.cuh"
#include "engine/ops/cuda/kernels/kernels.h"

namespace slimfill::engine::cuda {
namespace {

constexpr int kThreads = 256;

bool Aligned16(const void* p, int64_t row_bytes) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0 && row_bytes % 16 == 0;
}

__device__ __forceinline__ float Silu(float x) { return x / (1.0f + expf(-x)); }

__global__ void __launch_bounds__(kThreads) SiluMulKernel(const __nv_bfloat16* gate_up, int64_t gate_up_stride,
                                                          __nv_bfloat16* out, int64_t out_stride, int width) {
  const __nv_bfloat16* row = gate_up + blockIdx.x * gate_up_stride;
  for (int j = threadIdx.x; j < width; j += kThreads) {
    const float value = Silu(__bfloat162float(row[j])) * __bfloat162float(row[width + j]);
    out[blockIdx.x * out_stride + j] = __float2bfloat16_rn(value);
  }
}

__device__ __forceinline__ uint32_t SiluMulPair(uint32_t gate, uint32_t up) {
  const float2 g = UnpackBf16(gate), u = UnpackBf16(up);
  return PackBf16(Silu(g.x) * u.x, Silu(g.y) * u.y);
}

// Eight elements a thread; the same values as SiluMulKernel.
__global__ void __launch_bounds__(kThreads) SiluMulVectorKernel(const __nv_bfloat16* gate_up, int64_t gate_up_stride,
                                                                __nv_bfloat16* out, int64_t out_stride, int width) {
  const __nv_bfloat16* row = gate_up + blockIdx.x * gate_up_stride;
  for (int j = threadIdx.x * 8; j < width; j += kThreads * 8) {
    const uint4 gate = *reinterpret_cast<const uint4*>(row + j);
    const uint4 up = *reinterpret_cast<const uint4*>(row + width + j);
    *reinterpret_cast<uint4*>(out + blockIdx.x * out_stride + j) = make_uint4(
        SiluMulPair(gate.x, up.x), SiluMulPair(gate.y, up.y), SiluMulPair(gate.z, up.z), SiluMulPair(gate.w, up.w));
  }
}

__device__ __forceinline__ void Store(float* p, float value) { *p = value; }
__device__ __forceinline__ void Store(__nv_bfloat16* p, float value) { *p = __float2bfloat16_rn(value); }

template <typename Out, bool kAccumulate>
__global__ void __launch_bounds__(kThreads)
    AddBiasKernel(const float* x, int64_t x_stride, const float* bias, Out* out, int64_t out_stride, int cols) {
  for (int j = threadIdx.x; j < cols; j += kThreads) {
    float value = x[blockIdx.x * x_stride + j] + bias[j];
    Out* to = out + blockIdx.x * out_stride + j;
    if constexpr (kAccumulate) value += *to;
    Store(to, value);
  }
}

__global__ void __launch_bounds__(kThreads) GatherRowsKernel(const float* x, int64_t x_stride, const int32_t* indices,
                                                             float* out, int64_t out_stride, int cols, bool aligned) {
  const float* from = x + indices[blockIdx.x] * x_stride;
  float* to = out + blockIdx.x * out_stride;
  if (aligned) {
    for (int j = threadIdx.x * 4; j < cols; j += kThreads * 4) {
      *reinterpret_cast<float4*>(to + j) = *reinterpret_cast<const float4*>(from + j);
    }
  } else {
    for (int j = threadIdx.x; j < cols; j += kThreads) to[j] = from[j];
  }
}

struct Best {
  float value;
  int index;
};

// The larger value; of equals the one that stands first.
__device__ __forceinline__ Best Better(Best a, Best b) {
  const bool take_b = b.value > a.value || (b.value == a.value && b.index < a.index);
  return take_b ? b : a;
}

__global__ void __launch_bounds__(kThreads) ArgmaxKernel(const float* logits, int64_t stride, int32_t* out, int cols) {
  SMEM_ARRAY(Best, partial, kThreads / 32);
  const float* row = logits + blockIdx.x * stride;
  Best best = {-INFINITY, cols};
  for (int j = threadIdx.x; j < cols; j += kThreads) {
    if (isfinite(row[j])) best = Better(best, {row[j], j});
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const Best other = {__shfl_xor_sync(kFullWarp, best.value, offset), __shfl_xor_sync(kFullWarp, best.index, offset)};
    best = Better(best, other);
  }
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kThreads / 32; ++i) best = Better(best, partial[i]);
  out[blockIdx.x] = best.index < cols ? best.index : -1;
}

}  // namespace

cudaError_t SiluMul(const __nv_bfloat16* gate_up, int64_t gate_up_stride, __nv_bfloat16* out, int64_t out_stride,
                    int rows, int width, cudaStream_t stream) {
  const bool aligned = width % 8 == 0 && Aligned16(gate_up, gate_up_stride * 2) && Aligned16(out, out_stride * 2);
  return Launch(aligned ? SiluMulVectorKernel : SiluMulKernel, dim3(rows), dim3(kThreads), 0, stream, gate_up,
                gate_up_stride, out, out_stride, width);
}

cudaError_t AddBias(const float* x, int64_t x_stride, const float* bias, bool accumulate, float* out,
                    int64_t out_stride, int rows, int cols, cudaStream_t stream) {
  return Launch(accumulate ? AddBiasKernel<float, true> : AddBiasKernel<float, false>, dim3(rows), dim3(kThreads), 0,
                stream, x, x_stride, bias, out, out_stride, cols);
}

cudaError_t AddBias(const float* x, int64_t x_stride, const float* bias, __nv_bfloat16* out, int64_t out_stride,
                    int rows, int cols, cudaStream_t stream) {
  return Launch(AddBiasKernel<__nv_bfloat16, false>, dim3(rows), dim3(kThreads), 0, stream, x, x_stride, bias, out,
                out_stride, cols);
}

cudaError_t GatherRows(const float* x, int64_t x_stride, const int32_t* indices, float* out, int64_t out_stride,
                       int rows, int cols, cudaStream_t stream) {
  const bool aligned = cols % 4 == 0 && Aligned16(x, x_stride * 4) && Aligned16(out, out_stride * 4);
  return Launch(GatherRowsKernel, dim3(rows), dim3(kThreads), 0, stream, x, x_stride, indices, out, out_stride, cols,
                aligned);
}

cudaError_t ArgmaxRows(const float* logits, int64_t stride, int32_t* out, int rows, int cols, cudaStream_t stream) {
  return Launch(ArgmaxKernel, dim3(rows), dim3(kThreads), 0, stream, logits, stride, out, cols);
}

}  // namespace slimfill::engine::cuda
