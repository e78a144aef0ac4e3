// Function and variable qualifiers. __shared__ is missing on purpose: kernels use SMEM_ARRAY and DYN_SMEM (dev.cuh), so
// that shared memory is poisoned, bounds-checked and seen by the sanitizers. __noinline__ is missing, too: libstdc++
// spells an attribute so.
#pragma once

#define CUSIM 1
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __grid_constant__
#define CUDART_VERSION 13000
