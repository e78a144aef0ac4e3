// Tensor cores, matrix loads and asynchronous copies.
#include <random>

#include "tests/cusim/test/scene.h"

namespace cusim {
namespace {

using slimfill::engine::cuda::CopyAsync16;
using slimfill::engine::cuda::CopyAsyncCommit;
using slimfill::engine::cuda::CopyAsyncWait;
using slimfill::engine::cuda::LoadMatrices;
using slimfill::engine::cuda::Mma;

class TensorCoreTest : public CusimTest {};

std::vector<__nv_bfloat16> RandomBf16(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<__nv_bfloat16> values(count);
  for (auto& value : values) value = __float2bfloat16_rn(static_cast<float>(random() % 512) / 64.0f - 4.0f);
  return values;
}

// out[16x8] = a[16x16] * b[8x16]^T, through shared memory and matrix loads: the way the attention kernels do it.
__global__ void ProductOfTiles(const __nv_bfloat16* a, const __nv_bfloat16* b, float* out) {
  SMEM_ARRAY(__nv_bfloat16, tile_a, 16 * 24);  // rows 48 bytes apart: aligned to 16
  SMEM_ARRAY(__nv_bfloat16, tile_b, 16 * 24);
  const int lane = threadIdx.x;
  CopyAsync16(tile_a + lane / 2 * 24 + lane % 2 * 8, a + lane * 8);
  CopyAsync16(tile_b + lane / 2 * 24 + lane % 2 * 8, b + lane * 8);
  CopyAsyncCommit();
  CopyAsyncWait<0>();
  __syncwarp();
  uint32_t fragment_a[4], fragment_b[4];
  LoadMatrices<false>(fragment_a, tile_a + lane % 16 * 24 + lane / 16 * 8);
  LoadMatrices<false>(fragment_b, tile_b + (lane % 8 + lane / 16 * 8) * 24 + lane / 8 % 2 * 8);
  const uint32_t first[2] = {fragment_b[0], fragment_b[1]}, second[2] = {fragment_b[2], fragment_b[3]};
  float c[2][4] = {};
  Mma(c[0], fragment_a, first);
  Mma(c[1], fragment_a, second);
  for (int n = 0; n < 2; ++n) {
    for (int e = 0; e < 4; ++e) out[(lane / 4 + e / 2 * 8) * 16 + n * 8 + lane % 4 * 2 + e % 2] = c[n][e];
  }
}

TEST_F(TensorCoreTest, MultipliesTilesThatMatrixLoadsBring) {
  const auto a = RandomBf16(256, 1), b = RandomBf16(256, 2);
  ExpectClean([&] {
    DeviceArray<__nv_bfloat16> device_a(a), device_b(b);
    DeviceArray<float> out(256);
    RunKernel(ProductOfTiles, dim3(1), dim3(32), 0, device_a.get(), device_b.get(), out.get());
    const std::vector<float> got = out.Read();
    for (int i = 0; i < 256; ++i) {
      float want = 0;
      for (int k = 0; k < 16; ++k) want += __bfloat162float(a[i / 16 * 16 + k]) * __bfloat162float(b[i % 16 * 16 + k]);
      if (got[i] != want) return false;
    }
    return true;
  });
}

__global__ void Transpose(const __nv_bfloat16* in, uint32_t* out) {
  SMEM_ARRAY(__nv_bfloat16, tile, 16 * 24);
  const int lane = threadIdx.x;
  for (int i = lane; i < 256; i += 32) tile[i / 16 * 24 + i % 16] = in[i];
  __syncwarp();
  uint32_t r[4];
  LoadMatrices<true>(r, tile + lane % 16 * 24 + lane / 16 * 8);
  for (int i = 0; i < 4; ++i) out[lane * 4 + i] = r[i];
}

TEST_F(TensorCoreTest, TransposesMatricesAsTheyAreLoaded) {
  std::vector<__nv_bfloat16> values(256);
  for (int i = 0; i < 256; ++i) values[i].bits = static_cast<uint16_t>(i);
  DeviceArray<__nv_bfloat16> in(values);
  DeviceArray<uint32_t> out(128);
  RunKernel(Transpose, dim3(1), dim3(32), 0, in.get(), out.get());
  const std::vector<uint32_t> got = out.Read();
  for (uint32_t lane = 0; lane < 32; ++lane) {
    for (uint32_t matrix = 0; matrix < 4; ++matrix) {
      // Matrix i holds rows i % 2 * 8 and columns i / 2 * 8 on.
      const uint32_t row = matrix % 2 * 8 + lane % 4 * 2, col = matrix / 2 * 8 + lane / 4;
      EXPECT_EQ(got[lane * 4 + matrix], (row * 16 + col) | ((row + 1) * 16 + col) << 16);
    }
  }
}

// Two groups of copies; the older is waited for, then the younger.
__global__ void CopyInGroups(const int4* in, int* out) {
  SMEM_ARRAY(int4, stage, 64);
  const int t = threadIdx.x;
  CopyAsync16(stage + t, in + t);
  CopyAsyncCommit();
  CopyAsync16(stage + 32 + t, in + 32 + t);
  CopyAsyncCommit();
  CopyAsyncWait<1>();
  __syncthreads();
  out[t] = stage[31 - t].x;
  CopyAsyncWait<0>();
  __syncthreads();
  out[32 + t] = stage[63 - t].w;
}

TEST_F(TensorCoreTest, CopiesArriveByGroups) {
  ExpectClean([] {
    std::vector<int4> values(64);
    for (int i = 0; i < 64; ++i) values[i] = make_int4(i, i + 100, i + 200, i + 300);
    DeviceArray<int4> in(values);
    DeviceArray<int> out(64);
    RunKernel(CopyInGroups, dim3(1), dim3(32), 0, in.get(), out.get());
    const std::vector<int> got = out.Read();
    for (int t = 0; t < 32; ++t) {
      if (got[t] != 31 - t || got[32 + t] != 63 - t + 300) return false;
    }
    return true;
  });
}

}  // namespace
}  // namespace cusim
