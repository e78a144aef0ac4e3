// Compaction: a bit mask of rows becomes the list of those whose bit is set.
#include "engine/ops/cuda/kernels/dev.cuh"
#include "engine/ops/cuda/kernels/kernels.h"

namespace slimfill::engine::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// One thread block, a word of the mask to a thread. A warp then writes the rows of its words one after another, a lane
// to a bit: where they begin is a scan of the words' counts, where a bit's row goes the number of bits below it.
__global__ void __launch_bounds__(kThreads)
    ListRowsKernel(const uint32_t* mask, int words, int first_row, int32_t* rows) {
  SMEM_ARRAY(int, warp_counts, kWarps);
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  if (lane == 31) warp_counts[warp] = 0;  // so that whoever does not wait meets a wrong count, but a count
  int end = 0;                            // of the list so far
  for (int first = 0; first < words; first += kThreads) {
    const uint32_t own_word = first + thread < words ? mask[first + thread] : 0;
    int place = __popc(own_word);  // and those of the warp's words before
    for (int offset = 1; offset < 32; offset *= 2) {
      const int before = __shfl_up_sync(kFullWarp, place, offset);
      if (lane >= offset) place += before;
    }
    if (lane == 31) warp_counts[warp] = place;
    __syncthreads();
    place += end - __popc(own_word);
    for (int i = 0; i < kWarps; ++i) {
      if (i < warp) place += warp_counts[i];
      end += warp_counts[i];
    }
    __syncthreads();
    for (int i = 0; i < 32; ++i) {
      const uint32_t word = __shfl_sync(kFullWarp, own_word, i), below = word & ((1u << lane) - 1);
      const int to = __shfl_sync(kFullWarp, place, i) + __popc(below);
      if ((word >> lane & 1) != 0) rows[to] = first_row + (first + warp * 32 + i) * 32 + lane;
    }
  }
}

}  // namespace

cudaError_t ListRows(const uint32_t* mask, int words, int first_row, int32_t* rows, cudaStream_t stream) {
  return Launch(ListRowsKernel, dim3(1), dim3(kThreads), 0, stream, mask, words, first_row, rows);
}

}  // namespace slimfill::engine::cuda
