// What kernels need besides plain C++: shared memory, launches, tensor cores, asynchronous copies. The only file with
// PTX and the only one that knows whether a GPU or its emulation (tests/cusim) runs the kernels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#ifdef CUSIM
#include "cusim/tensor_core.h"

#define DYN_SMEM(name) unsigned char* const name = ::cusim::DynamicShared()
#define SMEM_ARRAY(T, name, n)      \
  static const char name##_key = 0; \
  T* const name = static_cast<T*>(::cusim::SharedArray(&name##_key, sizeof(T) * (n)))
#else
#define DYN_SMEM(name) extern __shared__ __align__(128) unsigned char name[]
#define SMEM_ARRAY(T, name, n) __shared__ T name[n]
#endif

namespace slimfill::engine::cuda {

inline constexpr unsigned kFullWarp = 0xffffffffu;
inline constexpr size_t kSharedWithoutAsking = 48 << 10;

// Launches `kernel`; nothing for an empty grid.
template <typename... Parameters, typename... Arguments>
cudaError_t Launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                   Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return cudaSuccess;
  if (shared_bytes > kSharedWithoutAsking) {
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    if (error != cudaSuccess) return error;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

// Mma: c[16x8, f32] += a[16x16, bf16, row-major] * b[16x8, bf16, column-major]. Lane l holds, with g = l / 4 and
// t = 2 * (l % 4): c = (g, t), (g, t + 1), (g + 8, t), (g + 8, t + 1); a = pairs of columns at (g, t), (g + 8, t),
// (g, t + 8), (g + 8, t + 8); b = pairs of rows at column g: t, t + 8.
// LoadMatrices: four 8x8 matrices of 16-bit elements, lane l gives the address of row l % 8 of matrix l / 8 and gets
// of matrix i the pair at row g, columns t and t + 1 (transposed: rows t and t + 1, column g) in r[i].
// CopyAsync16: 16 bytes from global to shared memory, complete after CopyAsyncWait<n> has left at most n younger
// groups pending, for the lane that asked; others need a barrier after that.
#ifdef CUSIM
inline void Mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], CUSIM_SITE) {
  ::cusim::MmaM16N8K16Bf16(c, a, b, site);
}
template <bool kTransposed>
void LoadMatrices(uint32_t (&r)[4], const void* row, CUSIM_SITE) {
  ::cusim::LdmatrixX4(r, row, kTransposed, site);
}
inline void CopyAsync16(void* shared, const void* global) { ::cusim::CpAsync(shared, global, 16, 16); }
inline void CopyAsyncCommit() { ::cusim::CpAsyncCommit(); }
template <int kPendingGroups>
void CopyAsyncWait(CUSIM_SITE) {
  ::cusim::CpAsyncWait(kPendingGroups, site);
}
#else
__device__ __forceinline__ void Mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <bool kTransposed>
__device__ __forceinline__ void LoadMatrices(uint32_t (&r)[4], const void* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  }
}
__device__ __forceinline__ void CopyAsync16(void* shared, const void* global) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(address), "l"(global) : "memory");
}
__device__ __forceinline__ void CopyAsyncCommit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
template <int kPendingGroups>
__device__ __forceinline__ void CopyAsyncWait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPendingGroups) : "memory");
}
#endif

// Two f32 rounded to bf16, `low` in the lower half: a pair of neighbouring elements in memory.
__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, sizeof(bits));
  return bits;
}
__device__ __forceinline__ float2 UnpackBf16(uint32_t bits) {
  return make_float2(__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000u));
}

__device__ __forceinline__ float WarpSum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(kFullWarp, value, offset);
  return value;
}

}  // namespace slimfill::engine::cuda
