// Bugs of the kinds that CUDA code has, each beside its repair: the emulator has to find every one.
#include <csignal>

#include "tests/cusim/memory.h"
#include "tests/cusim/test/scene.h"

namespace cusim {
namespace {

using slimfill::engine::cuda::CopyAsync16;
using slimfill::engine::cuda::CopyAsyncCommit;
using slimfill::engine::cuda::CopyAsyncWait;
using slimfill::engine::cuda::LoadMatrices;

class DetectorsTest : public CusimTest {};

// A kernel ends by itself: with a report of ours, or of the sanitizer that sees it first.
#define EXPECT_FAILS(statement, message) EXPECT_EXIT(statement, testing::ExitedWithCode(kExitCode), message)
#if defined(__SANITIZE_ADDRESS__)
#define EXPECT_BAD_ACCESS(statement, ours) EXPECT_DEATH(statement, "AddressSanitizer")
#else
#define EXPECT_BAD_ACCESS(statement, ours) EXPECT_EXIT(statement, ours, "")
#endif

// Every thread gives its neighbour a number.
__global__ void PassOn(int* out, bool barrier) {
  SMEM_ARRAY(int, shared, 64);
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (barrier) __syncthreads();
  out[threadIdx.x] = shared[(threadIdx.x + 1) % 64];
}
bool PassesOn(bool barrier) {
  DeviceArray<int> out(64);
  RunKernel(PassOn, dim3(1), dim3(64), 0, out.get(), barrier);
  const std::vector<int> got = out.Read();
  for (int i = 0; i < 64; ++i) {
    if (got[i] != (i + 1) % 64) return false;
  }
  return true;
}
TEST_F(DetectorsTest, MissingBarrier) {
  ExpectDetected([] { return PassesOn(false); });
  ExpectClean([] { return PassesOn(true); });
}

// A buffer is filled anew while others still read it.
__global__ void Rounds(int* out, bool second_barrier) {
  SMEM_ARRAY(int, shared, 64);
  int sum = 0;
  for (int round = 0; round < 4; ++round) {
    shared[threadIdx.x] = round * 100 + static_cast<int>(threadIdx.x);
    __syncthreads();
    sum += shared[(threadIdx.x + 5) % 64];
    if (second_barrier) __syncthreads();
  }
  out[threadIdx.x] = sum;
}
bool RoundsAddUp(bool second_barrier) {
  DeviceArray<int> out(64);
  RunKernel(Rounds, dim3(1), dim3(64), 0, out.get(), second_barrier);
  const std::vector<int> got = out.Read();
  for (int i = 0; i < 64; ++i) {
    if (got[i] != 600 + 4 * ((i + 5) % 64)) return false;
  }
  return true;
}
TEST_F(DetectorsTest, BufferReusedTooEarly) {
  ExpectDetected([] { return RoundsAddUp(false); });
  ExpectClean([] { return RoundsAddUp(true); });
}

__global__ void CopyThrough(const int4* in, int* out, bool wait) {
  SMEM_ARRAY(int4, shared, 32);
  CopyAsync16(shared + threadIdx.x, in + threadIdx.x);
  CopyAsyncCommit();
  if (wait) CopyAsyncWait<0>();
  __syncthreads();
  out[threadIdx.x] = shared[31 - threadIdx.x].x;
}
bool CopiesThrough(bool wait) {
  std::vector<int4> values(32);
  for (int i = 0; i < 32; ++i) values[i].x = i;
  DeviceArray<int4> in(values);
  DeviceArray<int> out(32);
  RunKernel(CopyThrough, dim3(1), dim3(32), 0, in.get(), out.get(), wait);
  const std::vector<int> got = out.Read();
  for (int i = 0; i < 32; ++i) {
    if (got[i] != 31 - i) return false;
  }
  return true;
}
TEST_F(DetectorsTest, MissingCopyAsyncWait) {
  ExpectDetected([] { return CopiesThrough(false); });
  ExpectClean([] { return CopiesThrough(true); });
}

// A vote lets lanes meet, but it orders no memory.
__global__ void PassOnInWarp(int* out, bool order) {
  SMEM_ARRAY(int, shared, 32);
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (order) {
    __syncwarp();
  } else {
    (void)__ballot_sync(~0u, 1);
  }
  out[threadIdx.x] = shared[threadIdx.x ^ 1];
}
TEST_F(DetectorsTest, MissingSyncWarp) {
  [[maybe_unused]] const auto scene = [](bool order) {
    DeviceArray<int> out(32);
    RunKernel(PassOnInWarp, dim3(1), dim3(32), 0, out.get(), order);
    return out.Read()[0] == 1;
  };
#if defined(__SANITIZE_THREAD__)  // the result is right on the CPU: only ThreadSanitizer can know
  ExpectDetected([&] { return scene(false); });
#endif
  ExpectClean([&] { return scene(true); });
}

__global__ void SetAll(int* p, int value) { p[threadIdx.x] = value; }

// Values go in on one stream and are used on another.
bool StreamsAgree(bool wait) {
  DeviceArray<int> value(std::vector<int>(32, 0));
  cudaStream_t in, use;
  cudaEvent_t arrived;
  cudaStreamCreateWithFlags(&in, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&use, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&arrived, cudaEventDisableTiming);
  slimfill::engine::cuda::Launch(SetAll, dim3(1), dim3(32), 0, in, value.get(), 7);
  cudaEventRecord(arrived, in);
  if (wait) cudaStreamWaitEvent(use, arrived);
  slimfill::engine::cuda::Launch(PassOnInWarp, dim3(1), dim3(32), 0, use, value.get(), true);
  cudaStreamSynchronize(use);
  cudaDeviceSynchronize();
  const std::vector<int> got = value.Read();
  cudaEventDestroy(arrived);
  cudaStreamDestroy(in);
  cudaStreamDestroy(use);
  return got[0] == 1;
}
TEST_F(DetectorsTest, MissingStreamWaitEvent) {
  ExpectDetected([] { return StreamsAgree(false); });
  ExpectClean([] { return StreamsAgree(true); });
}

bool PinnedArrives(bool wait) {
  int* pinned = nullptr;
  cudaStream_t stream;
  cudaMallocHost(&pinned, sizeof(int));
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  DeviceArray<int> value(1);
  *pinned = 1;
  cudaMemcpyAsync(value.get(), pinned, sizeof(int), cudaMemcpyHostToDevice, stream);
  if (wait) cudaStreamSynchronize(stream);
  *pinned = 2;
  cudaStreamSynchronize(stream);
  const bool right = value.Read()[0] == 1;
  cudaStreamDestroy(stream);
  cudaFreeHost(pinned);
  return right;
}
TEST_F(DetectorsTest, PinnedBufferReusedEarly) {
  ExpectDetected([] { return PinnedArrives(false); });
  ExpectClean([] { return PinnedArrives(true); });
}

__global__ void LastBlock(int* p, bool atomic) {
  __syncthreads();
  if (threadIdx.x != 0) return;
  if (atomic) {
    atomicMax(p, static_cast<int>(blockIdx.x));
  } else {
    *p = static_cast<int>(blockIdx.x);
  }
}
TEST_F(DetectorsTest, RaceBetweenBlocks) {
  const auto scene = [](bool atomic) {
    DeviceArray<int> value(std::vector<int>{-1});
    RunKernel(LastBlock, dim3(6), dim3(32), 0, value.get(), atomic);
    return value.Read()[0] == 5;
  };
  ExpectDetected([&] { return scene(false); });
  ExpectClean([&] { return scene(true); });
}

#if !defined(__SANITIZE_THREAD__)
__global__ void OverrunShared(int* out, int count) {
  SMEM_ARRAY(int, shared, 10);
  for (int i = 0; i < count; ++i) shared[i] = i;
  out[0] = shared[9];
}
TEST_F(DetectorsTest, SharedOverrun) {
  DeviceArray<int> out(1);
  EXPECT_BAD_ACCESS(RunKernel(OverrunShared, dim3(1), dim3(1), 0, out.get(), 11), testing::ExitedWithCode(kExitCode));
  RunKernel(OverrunShared, dim3(1), dim3(1), 0, out.get(), 10);
}

__global__ void OverrunGlobal(int* out, int first) { out[first + static_cast<int>(threadIdx.x)] = 1; }
TEST_F(DetectorsTest, GlobalOverrun) {
  DeviceArray<int> out(64);  // a multiple of the allocation's alignment: the guard begins at its end
  EXPECT_BAD_ACCESS(RunKernel(OverrunGlobal, dim3(1), dim3(32), 0, out.get(), 33), testing::KilledBySignal(SIGSEGV));
  RunKernel(OverrunGlobal, dim3(1), dim3(32), 0, out.get(), 32);
}

TEST_F(DetectorsTest, UseAfterFree) {
  const auto scene = [] {
    int* p = nullptr;
    cudaMallocAsync(reinterpret_cast<void**>(&p), 256, nullptr);
    slimfill::engine::cuda::Launch(SetAll, dim3(1), dim3(32), 0, nullptr, p, 1);
    cudaFreeAsync(p, nullptr);
    slimfill::engine::cuda::Launch(SetAll, dim3(1), dim3(32), 0, nullptr, p, 2);
    cudaDeviceSynchronize();
  };
  EXPECT_BAD_ACCESS(scene(), testing::KilledBySignal(SIGSEGV));
}

// Freed in the order of one stream, which does not wait for another that still copies out of it.
void FreeBesideACopy(bool wait) {
  void *p = nullptr, *pinned = nullptr;
  cudaStream_t owner, reader;
  cudaEvent_t read;
  cudaStreamCreateWithFlags(&owner, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&reader, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&read, cudaEventDisableTiming);
  cudaMallocHost(&pinned, 256);
  cudaMallocAsync(&p, 256, owner);
  cudaMemcpyAsync(pinned, p, 256, cudaMemcpyDeviceToHost, reader);
  cudaEventRecord(read, reader);
  if (wait) cudaStreamWaitEvent(owner, read);
  cudaFreeAsync(p, owner);
  cudaStreamSynchronize(owner);
  cudaStreamSynchronize(reader);
  cudaFreeHost(pinned);
  cudaEventDestroy(read);
  cudaStreamDestroy(owner);
  cudaStreamDestroy(reader);
}
TEST_F(DetectorsTest, FreedWhileAnotherStreamUsesIt) {
  EXPECT_BAD_ACCESS(FreeBesideACopy(false), testing::KilledBySignal(SIGSEGV));
  FreeBesideACopy(true);
}
#endif

// A reduction that takes lanes' results which were never written.
__global__ void SumOfSlots(const int* filled, float* out) {
  SMEM_ARRAY(float, slots, 32);
  if (static_cast<int>(threadIdx.x) < *filled) slots[threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x != 0) return;
  float sum = 0;
  for (int i = 0; i < 32; ++i) sum += slots[i];
  *out = sum;
}
TEST_F(DetectorsTest, UninitialisedSharedMemory) {
  DeviceArray<float> out(1);
  for (const int filled : {31, 32}) {
    DeviceArray<int> count(std::vector<int>{filled});
    RunKernel(SumOfSlots, dim3(1), dim3(32), 0, count.get(), out.get());
    EXPECT_EQ(std::isnan(out.Read()[0]), filled < 32);
  }
}
TEST_F(DetectorsTest, UninitialisedDeviceMemory) {
  DeviceArray<float> values(64);
  for (const float value : values.Read()) EXPECT_TRUE(std::isnan(value));
}

// Dynamic memory that is allowed alone, and static beside it.
__global__ void TakesMore() {
  DYN_SMEM(raw);
  SMEM_ARRAY(char, beside, 1024);
  raw[0] = beside[0] = 1;
}
TEST_F(DetectorsTest, TooMuchSharedMemory) {
  EXPECT_FAILS(RunKernel(TakesMore, dim3(1), dim3(1), 48 << 10), "50176 bytes of shared memory, the device has 49152");
  EXPECT_FAILS(RunKernel(TakesMore, dim3(1), dim3(1), 99 << 10),
               "102400 bytes of shared memory, the device has 101376");
  RunKernel(TakesMore, dim3(1), dim3(1), 47 << 10);
  RunKernel(TakesMore, dim3(1), dim3(1), 98 << 10);
}

__global__ void HalfMeets() {
  if (threadIdx.x < 40) __syncthreads();
  if (threadIdx.x >= 40) (void)__ballot_sync(~0u, 1);
}
__global__ void TwoPlaces() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
TEST_F(DetectorsTest, DivergentBarrier) {
  EXPECT_FAILS(RunKernel(HalfMeets, dim3(1), dim3(64), 0), "deadlock|divergent");
  EXPECT_FAILS(RunKernel(TwoPlaces, dim3(1), dim3(64), 0), "divergent barrier");
}

__global__ void NamesReturnedLanes(int* out) {
  if (threadIdx.x >= 16) return;
  out[threadIdx.x] = __shfl_sync(~0u, 1, 0);
}
__global__ void ReadsOutsideMask(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, 1, 20);
}
__global__ void OutsideItsMask(int* out) { out[threadIdx.x] = __shfl_sync(0xffffu, 1, 0); }
TEST_F(DetectorsTest, WrongMasks) {
  DeviceArray<int> out(32);
  EXPECT_FAILS(RunKernel(NamesReturnedLanes, dim3(1), dim3(32), 0, out.get()), "deadlock|have returned");
  EXPECT_FAILS(RunKernel(ReadsOutsideMask, dim3(1), dim3(32), 0, out.get()), "does not take part");
  EXPECT_FAILS(RunKernel(OutsideItsMask, dim3(1), dim3(32), 0, out.get()), "not in the mask");
}

__global__ void Misaligned(const int4* in) {
  SMEM_ARRAY(int, shared, 64);
  CopyAsync16(shared + 1, in);
}
__global__ void MisalignedRow() {
  SMEM_ARRAY(uint16_t, shared, 1024);
  uint32_t r[4];
  LoadMatrices<false>(r, shared + threadIdx.x * 12);
}
TEST_F(DetectorsTest, Misalignment) {
  DeviceArray<int4> in(32);
  EXPECT_FAILS(RunKernel(Misaligned, dim3(1), dim3(32), 0, in.get()), "not aligned");
  EXPECT_FAILS(RunKernel(MisalignedRow, dim3(1), dim3(32), 0), "not aligned");
}

// Plain loads and stores: compiled with a check of every pointer's alignment.
__global__ void CopyVectors(const float* in, float* out) {
  *reinterpret_cast<float4*>(out) = *reinterpret_cast<const float4*>(in);
}
TEST_F(DetectorsTest, MisalignedVectors) {
  DeviceArray<float> in(8), out(8);
  EXPECT_DEATH(RunKernel(CopyVectors, dim3(1), dim3(1), 0, in.get() + 1, out.get()), "");
  EXPECT_DEATH(RunKernel(CopyVectors, dim3(1), dim3(1), 0, in.get(), out.get() + 2), "");
  RunKernel(CopyVectors, dim3(1), dim3(1), 0, in.get() + 4, out.get() + 4);
}

TEST_F(DetectorsTest, HostMemoryAsAKernelsArgument) {
  int host[32];
  EXPECT_FAILS(RunKernel(SetAll, dim3(1), dim3(32), 0, host, 1), "neither device nor pinned");
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)  // their heap is not protected
TEST_F(DetectorsTest, HostTouchesDeviceMemory) {
  const auto scene = [] {
    Schedule schedule;
    schedule.protect_device_memory = true;
    SetSchedule(schedule);
    DeviceArray<int> value(std::vector<int>(32, 0));
    RunKernel(SetAll, dim3(1), dim3(32), 0, value.get(), 3);  // kernels and copies may
    if (value.Read()[0] != 3) _exit(0);
    volatile int touched = *value.get();
    (void)touched;
  };
  EXPECT_EXIT(scene(), testing::KilledBySignal(SIGSEGV), "");
}
#endif

}  // namespace
}  // namespace cusim
