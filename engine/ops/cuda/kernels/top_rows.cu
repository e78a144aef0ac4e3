// A row's largest elements and its mass. A thread block takes a split of a row's columns and keeps the best so far in
// shared memory; another one for each row then chooses among the splits' best.
#include "engine/ops/cuda/kernels/dev.cuh"
#include "engine/ops/cuda/kernels/kernels.h"

namespace slimfill::engine::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;

// Orders elements as they are wanted: by value, of equals the first column first. 0 is below all: no finite element.
__device__ __forceinline__ uint64_t Rank(float value, int column) {
  if (!isfinite(value)) return 0;
  const uint32_t bits = __float_as_uint(value == 0.0f ? 0.0f : value);  // -0 equals 0
  const uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | ~static_cast<uint32_t>(column);
}
__device__ __forceinline__ TopElement ElementOf(uint64_t rank) {
  if (rank == 0) return {-1, 0.0f};
  const auto ordered = static_cast<uint32_t>(rank >> 32);
  const uint32_t bits = (ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered;
  return {static_cast<int32_t>(~static_cast<uint32_t>(rank)), __uint_as_float(bits)};
}

struct TopMemory {  // shared
  uint64_t* best;        // [kMostTop], in order, zeros behind the last
  uint64_t* candidates;  // [kMostTop + kThreads]: the best so far, then what is better than the last of them
  int* warp_counts;      // [kWarps]: how many of those each warp has
};

// The `count` largest of rank_at(0), .., rank_at(size - 1), which differ or are 0, to memory.best. All threads call it.
template <typename RankAt>
__device__ __forceinline__ void KeepBest(const RankAt& rank_at, int size, int count, const TopMemory& memory) {
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  if (thread < count) memory.best[thread] = 0;
  if (lane == 0) memory.warp_counts[warp] = 0;
  __syncthreads();
  for (int first = 0; first < size; first += kThreads) {
    const uint64_t rank = first + thread < size ? rank_at(first + thread) : 0;
    const bool is_better = rank > memory.best[count - 1];
    const unsigned better = __ballot_sync(kFullWarp, is_better);
    if (lane == 0) memory.warp_counts[warp] = __popc(better);
    if (__syncthreads_or(is_better) == 0) continue;
    int slot = count, end = count;
    for (int i = 0; i < kWarps; ++i) {
      if (i < warp) slot += memory.warp_counts[i];
      end += memory.warp_counts[i];
    }
    if (thread < count) memory.candidates[thread] = memory.best[thread];
    if (is_better) memory.candidates[slot + __popc(better & ((1u << lane) - 1))] = rank;
    __syncthreads();
    // Ranks differ, so that a candidate's place is the number of larger ones.
    for (int i = thread; i < end; i += kThreads) {
      const uint64_t candidate = memory.candidates[i];
      int place = 0;
      for (int j = 0; j < end; ++j) place += memory.candidates[j] > candidate ? 1 : 0;
      if (place < count && candidate != 0) memory.best[place] = candidate;
    }
    __syncthreads();
  }
}

__device__ __forceinline__ float Mass(float value, float largest, float temperature) {
  return expf((value - largest) / temperature);
}

// ranks [rows, splits, count], masses [rows, splits], relative to the split's largest element.
__global__ void __launch_bounds__(kThreads)
    TopSplitKernel(const float* x, int64_t stride, int cols, int count, const float* temperatures, uint64_t* ranks,
                   float* masses) {
  SMEM_ARRAY(uint64_t, best, kMostTop);
  SMEM_ARRAY(uint64_t, candidates, kMostTop + kThreads);
  SMEM_ARRAY(int, warp_counts, kWarps);
  SMEM_ARRAY(float, warp_masses, kWarps);
  const int thread = threadIdx.x, first = blockIdx.y * kTopSplitColumns, size = min(kTopSplitColumns, cols - first);
  const float* part = x + blockIdx.x * stride + first;
  KeepBest([part, first](int i) { return Rank(part[i], first + i); }, size, count, {best, candidates, warp_counts});
  const int64_t split = static_cast<int64_t>(blockIdx.x) * gridDim.y + blockIdx.y;
  if (thread < count) ranks[split * count + thread] = best[thread];

  const float largest = ElementOf(best[0]).value, temperature = temperatures[blockIdx.x];
  float mass = 0;
  for (int i = thread; i < size; i += kThreads) {
    if (temperature > 0 && isfinite(part[i])) mass += Mass(part[i], largest, temperature);
  }
  mass = WarpSum(mass);
  if (thread % 32 == 0) warp_masses[thread / 32] = mass;
  __syncthreads();
  if (thread != 0) return;
  for (int i = 1; i < kWarps; ++i) mass += warp_masses[i];
  masses[split] = mass;
}

__global__ void __launch_bounds__(kThreads)
    TopMergeKernel(const uint64_t* ranks, const float* masses, int splits, int count, const float* temperatures,
                   TopElement* out) {
  SMEM_ARRAY(uint64_t, best, kMostTop);
  SMEM_ARRAY(uint64_t, candidates, kMostTop + kThreads);
  SMEM_ARRAY(int, warp_counts, kWarps);
  const int thread = threadIdx.x;
  const int64_t first_split = static_cast<int64_t>(blockIdx.x) * splits;
  ranks += first_split * count;
  KeepBest([ranks](int i) { return ranks[i]; }, splits * count, count, {best, candidates, warp_counts});
  out += static_cast<int64_t>(blockIdx.x) * (count + 1);
  if (thread < count) out[thread] = ElementOf(best[thread]);
  if (thread != 0) return;
  const float largest = ElementOf(best[0]).value, temperature = temperatures[blockIdx.x];
  float mass = 0;
  for (int i = 0; i < splits; ++i) {
    const TopElement element = ElementOf(ranks[i * count]);
    if (temperature > 0 && element.index >= 0) {
      mass += masses[first_split + i] * Mass(element.value, largest, temperature);
    }
  }
  out[count] = {-1, mass};
}

}  // namespace

cudaError_t TopRows(const float* x, int64_t stride, int count, const float* temperatures, void* scratch,
                    TopElement* out, int rows, int cols, cudaStream_t stream) {
  const int splits = TopSplits(cols);
  auto* ranks = static_cast<uint64_t*>(scratch);
  auto* masses = reinterpret_cast<float*>(ranks + static_cast<int64_t>(rows) * splits * count);
  const cudaError_t error = Launch(TopSplitKernel, dim3(rows, splits), dim3(kThreads), 0, stream, x, stride, cols,
                                   count, temperatures, ranks, masses);
  if (error != cudaSuccess) return error;
  return Launch(TopMergeKernel, dim3(rows), dim3(kThreads), 0, stream, ranks, masses, splits, count, temperatures, out);
}

}  // namespace slimfill::engine::cuda
