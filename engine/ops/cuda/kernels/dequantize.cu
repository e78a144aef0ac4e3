// The formats' blocks are described in engine/model/dequantize.cc; here every thread reads one element of a block. Each
// product and sum is rounded on its own, in the same order, so that the bits are the same.
#include "engine/ops/cuda/kernels/dev.cuh"
#include "engine/ops/cuda/kernels/kernels.h"

namespace slimfill::engine::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float HalfToFloat(uint32_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, magnitude = half & 0x7fffu, exponent = magnitude >> 10;
  const uint32_t normal = (magnitude << 13) + (exponent == 31 ? 224u << 23 : 112u << 23);
  const uint32_t subnormal = __float_as_uint(static_cast<float>(magnitude) * 0x1p-24f);
  return __uint_as_float(sign | (exponent == 0 ? subnormal : normal));
}
__device__ __forceinline__ uint32_t LoadU16(const uint8_t* p) { return p[0] | static_cast<uint32_t>(p[1]) << 8; }
__device__ __forceinline__ float LoadHalf(const uint8_t* p) { return HalfToFloat(LoadU16(p)); }

// Element i of 32: in the low half of byte i, or in the high half of byte i - 16.
__device__ __forceinline__ int Nibble32(const uint8_t* nibbles, int i) {
  return i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
}
__device__ __forceinline__ int Bit(const uint8_t* bits, int i) { return (bits[i / 8] >> (i % 8)) & 1; }

// The scale or minimum of a K type's sub-block: six bits, packed as dequantize.cc says.
__device__ __forceinline__ int SubScale(const uint8_t* packed, int i) {
  return i < 4 ? packed[i] & 63 : (packed[i + 4] & 15) | (packed[i - 4] >> 6) << 4;
}
__device__ __forceinline__ int SubMin(const uint8_t* packed, int i) {
  return i < 4 ? packed[i + 4] & 63 : (packed[i + 4] >> 4) | (packed[i] >> 6) << 4;
}

// value = (scale * sub-scale) * q - (min * sub-minimum), of element i of 256. Groups of 64 elements share 32 bytes.
__device__ __forceinline__ float ScaleAndShift(const uint8_t* block, int i, int q) {
  const int sub = i / 32;
  const float scale = __fmul_rn(LoadHalf(block), static_cast<float>(SubScale(block + 4, sub)));
  const float min = __fmul_rn(LoadHalf(block + 2), static_cast<float>(SubMin(block + 4, sub)));
  return __fsub_rn(__fmul_rn(scale, static_cast<float>(q)), min);
}
__device__ __forceinline__ int NibbleOf64(const uint8_t* nibbles, int i) {
  const int byte = nibbles[i / 64 * 32 + i % 32];
  return i % 64 < 32 ? byte & 15 : byte >> 4;
}

__device__ __forceinline__ float Q6K(const uint8_t* block, int i) {
  const int group = i / 128, in_group = i % 128, quarter = in_group / 32, j = in_group % 32;
  const int low_byte = block[group * 64 + in_group % 64];
  const int low = quarter < 2 ? low_byte & 15 : low_byte >> 4;
  const int high = (block[128 + group * 32 + j] >> (2 * quarter)) & 3;
  const float scale = __fmul_rn(LoadHalf(block + 208), static_cast<float>(static_cast<int8_t>(block[192 + i / 16])));
  return __fmul_rn(scale, static_cast<float>((low | high << 4) - 32));
}

template <GgmlType kType>
__device__ __forceinline__ float Element(const uint8_t* block, int i) {
  if constexpr (kType == GgmlType::kF32) {
    return __uint_as_float(LoadU16(block) | LoadU16(block + 2) << 16);
  } else if constexpr (kType == GgmlType::kF16) {
    return LoadHalf(block);
  } else if constexpr (kType == GgmlType::kBF16) {
    return __uint_as_float(LoadU16(block) << 16);
  } else if constexpr (kType == GgmlType::kQ4_0) {
    return __fmul_rn(static_cast<float>(Nibble32(block + 2, i) - 8), LoadHalf(block));
  } else if constexpr (kType == GgmlType::kQ4_1) {
    return __fadd_rn(__fmul_rn(static_cast<float>(Nibble32(block + 4, i)), LoadHalf(block)), LoadHalf(block + 2));
  } else if constexpr (kType == GgmlType::kQ5_0) {
    const int q = Nibble32(block + 6, i) | Bit(block + 2, i) << 4;
    return __fmul_rn(static_cast<float>(q - 16), LoadHalf(block));
  } else if constexpr (kType == GgmlType::kQ5_1) {
    const int q = Nibble32(block + 8, i) | Bit(block + 4, i) << 4;
    return __fadd_rn(__fmul_rn(static_cast<float>(q), LoadHalf(block)), LoadHalf(block + 2));
  } else if constexpr (kType == GgmlType::kQ8_0) {
    return __fmul_rn(static_cast<float>(static_cast<int8_t>(block[2 + i])), LoadHalf(block));
  } else if constexpr (kType == GgmlType::kQ4_K) {
    return ScaleAndShift(block, i, NibbleOf64(block + 16, i));
  } else if constexpr (kType == GgmlType::kQ5_K) {
    const int high = (block[16 + i % 32] >> (i / 32)) & 1;
    return ScaleAndShift(block, i, NibbleOf64(block + 48, i) | high << 4);
  } else {
    static_assert(kType == GgmlType::kQ6_K);
    return Q6K(block, i);
  }
}

__device__ __forceinline__ void Store(float* p, float value) { *p = value; }
__device__ __forceinline__ void Store(__nv_bfloat16* p, float value) { *p = __float2bfloat16_rn(value); }

template <GgmlType kType, int kBlockElements, int kBlockBytes, typename Out>
__global__ void __launch_bounds__(kThreads)
    DequantizeKernel(const uint8_t* stored, int64_t row_bytes, Out* out, int64_t out_stride, int cols) {
  const uint8_t* row = stored + blockIdx.x * row_bytes;
  for (int j = threadIdx.x; j < cols; j += kThreads) {
    Store(out + blockIdx.x * out_stride + j,
          Element<kType>(row + int64_t{j / kBlockElements} * kBlockBytes, j % kBlockElements));
  }
}

template <typename Out>
cudaError_t Dequantize(GgmlType type, const uint8_t* stored, int64_t row_bytes, Out* out, int64_t out_stride, int rows,
                       int cols, cudaStream_t stream) {
  const auto launch = [&](auto kernel) {
    return Launch(kernel, dim3(rows), dim3(kThreads), 0, stream, stored, row_bytes, out, out_stride, cols);
  };
  switch (type) {
    case GgmlType::kF32:
      return launch(DequantizeKernel<GgmlType::kF32, 1, 4, Out>);
    case GgmlType::kF16:
      return launch(DequantizeKernel<GgmlType::kF16, 1, 2, Out>);
    case GgmlType::kBF16:
      return launch(DequantizeKernel<GgmlType::kBF16, 1, 2, Out>);
    case GgmlType::kQ4_0:
      return launch(DequantizeKernel<GgmlType::kQ4_0, 32, 18, Out>);
    case GgmlType::kQ4_1:
      return launch(DequantizeKernel<GgmlType::kQ4_1, 32, 20, Out>);
    case GgmlType::kQ5_0:
      return launch(DequantizeKernel<GgmlType::kQ5_0, 32, 22, Out>);
    case GgmlType::kQ5_1:
      return launch(DequantizeKernel<GgmlType::kQ5_1, 32, 24, Out>);
    case GgmlType::kQ8_0:
      return launch(DequantizeKernel<GgmlType::kQ8_0, 32, 34, Out>);
    case GgmlType::kQ4_K:
      return launch(DequantizeKernel<GgmlType::kQ4_K, 256, 144, Out>);
    case GgmlType::kQ5_K:
      return launch(DequantizeKernel<GgmlType::kQ5_K, 256, 176, Out>);
    case GgmlType::kQ6_K:
      return launch(DequantizeKernel<GgmlType::kQ6_K, 256, 210, Out>);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t DequantizeRows(GgmlType type, const uint8_t* stored, int64_t row_bytes, float* out, int64_t out_stride,
                           int rows, int cols, cudaStream_t stream) {
  return Dequantize(type, stored, row_bytes, out, out_stride, rows, cols, stream);
}

cudaError_t DequantizeRows(GgmlType type, const uint8_t* stored, int64_t row_bytes, __nv_bfloat16* out,
                           int64_t out_stride, int rows, int cols, cudaStream_t stream) {
  return Dequantize(type, stored, row_bytes, out, out_stride, rows, cols, stream);
}

}  // namespace slimfill::engine::cuda
