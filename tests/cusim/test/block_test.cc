// What lanes can do together.
#include <numeric>

#include "tests/cusim/test/scene.h"

namespace cusim {
namespace {

class BlockTest : public CusimTest {};

__global__ void WriteIndices(int* out) {
  const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

TEST_F(BlockTest, EveryLaneOfEveryBlockRunsOnce) {
  DeviceArray<int> out(2 * 3 * 2 * 60);
  RunKernel(WriteIndices, dim3(2, 3, 2), dim3(5, 4, 3), 0, out.get());
  const std::vector<int> got = out.Read();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], static_cast<int>(i / 60 * 1000 + i % 60));
}

__global__ void Reverse(int* values) {
  SMEM_ARRAY(int, shared, 96);
  shared[threadIdx.x] = values[blockIdx.x * 96 + threadIdx.x];
  __syncthreads();
  values[blockIdx.x * 96 + threadIdx.x] = shared[95 - threadIdx.x];
}

TEST_F(BlockTest, BarriersOrderSharedMemory) {
  ExpectClean([] {
    std::vector<int> values(3 * 96);
    std::iota(values.begin(), values.end(), 0);
    DeviceArray<int> array(values);
    RunKernel(Reverse, dim3(3), dim3(96), 0, array.get());
    const std::vector<int> got = array.Read();
    for (int i = 0; i < 3 * 96; ++i) {
      if (got[i] != i / 96 * 96 + 95 - i % 96) return false;
    }
    return true;
  });
}

__global__ void BarrierReductions(int* out) {
  const int any = __syncthreads_or(threadIdx.x == 17), all = __syncthreads_and(threadIdx.x < 50);
  const int count = __syncthreads_count(threadIdx.x % 3 == 0);
  if (threadIdx.x == 49) out[0] = any * 10000 + all * 1000 + count;
}

TEST_F(BlockTest, BarriersReducePredicates) {
  DeviceArray<int> out(1);
  RunKernel(BarrierReductions, dim3(1), dim3(50), 0, out.get());
  EXPECT_EQ(out.Read()[0], 10000 + 1000 + 17);
}

__global__ void Shuffles(int* out) {
  const int lane = threadIdx.x, value = lane * 3;
  out[lane] = __shfl_sync(~0u, value, 5);
  out[32 + lane] = __shfl_xor_sync(~0u, value, 9);
  out[64 + lane] = __shfl_down_sync(~0u, value, 4);
  out[96 + lane] = __shfl_up_sync(~0u, value, 4);
  out[128 + lane] = __shfl_sync(~0u, value, 2, 8);
  out[160 + lane] = __shfl_down_sync(~0u, value, 3, 8);
  out[192 + lane] = static_cast<int>(__ballot_sync(~0u, lane % 5 == 0));
  out[224 + lane] = __any_sync(~0u, lane == 31) * 2 + __all_sync(~0u, lane < 31);
}

TEST_F(BlockTest, ShufflesAndVotesFollowTheirDefinition) {
  DeviceArray<int> out(256);
  RunKernel(Shuffles, dim3(1), dim3(32), 0, out.get());
  const std::vector<int> got = out.Read();
  int ballot = 0;
  for (int lane = 0; lane < 32; lane += 5) ballot |= 1 << lane;
  for (int lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(got[lane], 15);
    EXPECT_EQ(got[32 + lane], (lane ^ 9) * 3);
    EXPECT_EQ(got[64 + lane], (lane + 4 < 32 ? lane + 4 : lane) * 3);
    EXPECT_EQ(got[96 + lane], (lane >= 4 ? lane - 4 : lane) * 3);
    EXPECT_EQ(got[128 + lane], (lane / 8 * 8 + 2) * 3);
    EXPECT_EQ(got[160 + lane], (lane % 8 + 3 < 8 ? lane + 3 : lane) * 3);
    EXPECT_EQ(got[192 + lane], ballot);
    EXPECT_EQ(got[224 + lane], 2);
  }
}

__global__ void HalvesOfAWarp(int* out) {
  const unsigned mask = threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u;
  int value = static_cast<int>(threadIdx.x);
  if (threadIdx.x < 16) {
    value += __shfl_xor_sync(mask, value, 1);
  } else {
    value = __shfl_xor_sync(mask, value, 2);
  }
  out[threadIdx.x] = value;
}

TEST_F(BlockTest, PartsOfAWarpMeetOnTheirOwn) {
  DeviceArray<int> out(32);
  RunKernel(HalvesOfAWarp, dim3(1), dim3(32), 0, out.get());
  const std::vector<int> got = out.Read();
  for (int lane = 0; lane < 32; ++lane) EXPECT_EQ(got[lane], lane < 16 ? lane + (lane ^ 1) : lane ^ 2);
}

__global__ void EarlyReturns(int* out) {
  if (threadIdx.x % 32 >= 20) return;
  __syncthreads();
  const unsigned voted = __ballot_sync(0x000fffffu, 1);
  __syncthreads();
  atomicAdd(out, __popc(voted));
}

TEST_F(BlockTest, LanesThatHaveReturnedDoNotHoldUpOthers) {
  DeviceArray<int> out(std::vector<int>{0});
  RunKernel(EarlyReturns, dim3(1), dim3(70), 0, out.get());
  EXPECT_EQ(out.Read()[0], 20 * 20 + 20 * 20 + 6 * 6);
}

__global__ void Atomics(int* out, float* sum) {
  atomicAdd(&out[0], 1);
  atomicMax(&out[1], static_cast<int>(threadIdx.x + blockIdx.x * blockDim.x));
  atomicMin(&out[2], -static_cast<int>(threadIdx.x));
  if (atomicCAS(&out[3], 0, 1) == 0) atomicAdd(&out[4], 1);
  atomicAdd(sum, 0.5f);
}

TEST_F(BlockTest, AtomicsAddUpOverBlocks) {
  DeviceArray<int> out(std::vector<int>(5, 0));
  DeviceArray<float> sum(std::vector<float>{0});
  RunKernel(Atomics, dim3(4), dim3(64), 0, out.get(), sum.get());
  EXPECT_EQ(out.Read(), (std::vector<int>{256, 255, -63, 1, 1}));
  EXPECT_EQ(sum.Read()[0], 128);
}

__global__ void Compact(const int* values, int* out, int* count) {
  const int lane = threadIdx.x % 32, value = values[blockIdx.x * blockDim.x + threadIdx.x];
  const unsigned kept = __ballot_sync(~0u, value > 0);
  int base = 0;
  if (lane == 0) base = atomicAdd(count, __popc(kept));
  base = __shfl_sync(~0u, base, 0);
  if (value > 0) out[base + __popc(kept & ((1u << lane) - 1))] = value;
}

TEST_F(BlockTest, BallotCompactionKeepsEveryValueOnce) {
  std::vector<int> values(256);
  for (int i = 0; i < 256; ++i) values[i] = i % 3 == 0 ? -1 : i;
  DeviceArray<int> in(values), out(std::vector<int>(256, 0)), count(std::vector<int>{0});
  RunKernel(Compact, dim3(4), dim3(64), 0, in.get(), out.get(), count.get());
  std::vector<int> got = out.Read(), want;
  std::copy_if(values.begin(), values.end(), std::back_inserter(want), [](int v) { return v > 0; });
  got.resize(count.Read()[0]);
  std::sort(got.begin(), got.end());
  EXPECT_EQ(got, want);
}

__global__ void ReadSharedUnwritten(float* out) {
  DYN_SMEM(raw);
  SMEM_ARRAY(float, fixed, 32);
  out[blockIdx.x * 32 + threadIdx.x] = reinterpret_cast<float*>(raw)[threadIdx.x] + fixed[threadIdx.x];
}

TEST_F(BlockTest, SharedMemoryStartsPoisoned) {
  DeviceArray<float> out(64);
  RunKernel(ReadSharedUnwritten, dim3(2), dim3(32), 128, out.get());
  for (float value : out.Read()) EXPECT_TRUE(std::isnan(value));
}

__global__ void Nothing() {}

TEST_F(BlockTest, RefusesLaunchesThatNoDeviceTakes) {
  const auto launch = [](dim3 grid, dim3 block, size_t shared) {
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    return cudaLaunchKernelEx(&config, Nothing);
  };
  EXPECT_CUDA(launch(dim3(1), dim3(1024), 48 << 10));
  EXPECT_EQ(launch(dim3(1), dim3(1025), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(dim3(1, 65536), dim3(1), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(dim3(0), dim3(1), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(dim3(1), dim3(1), (48 << 10) + 1), cudaErrorInvalidConfiguration) << "not asked for";
  EXPECT_CUDA(cudaFuncSetAttribute(Nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 99 << 10));
  EXPECT_CUDA(launch(dim3(1), dim3(1), 99 << 10));
  EXPECT_EQ(cudaFuncSetAttribute(Nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10),
            cudaErrorInvalidValue);
  EXPECT_CUDA(cudaDeviceSynchronize());
}

}  // namespace
}  // namespace cusim
