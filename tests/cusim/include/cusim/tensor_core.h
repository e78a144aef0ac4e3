// Tensor cores, ldmatrix and cp.async: what dev.cuh reaches by inline PTX on a device.
#pragma once

#include <cstdint>

#include "cusim/collectives.h"

namespace cusim {

// c[16x8, f32] += a[16x16, bf16, rows] * b[16x8, bf16, columns], in the fragment layout of mma.m16n8k16. Products and
// sums are f32 in index order: how tensor cores round is not modelled.
void MmaM16N8K16Bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site);

// Four 8x8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
void LdmatrixX4(uint32_t (&r)[4], const void* row, bool transposed, Site site);

// Copies `bytes` from global to shared memory, of which `valid` are read and the rest zeroed: at once, when waited for,
// or in between, as the schedule says. Until then the destination is poisoned.
void CpAsync(void* to, const void* from, unsigned bytes, unsigned valid);
void CpAsyncCommit();
void CpAsyncWait(int pending_groups, Site site);

}  // namespace cusim
