// Softmax attention mass of a few queries on key units, exact in f32 but for the keys' own rounding: a query is the sum
// of two bf16, multiplied one after the other. First each row's maximum and sum over all keys (by splits of the pages,
// merged in order), then the scores once more, as probabilities, summed over units.
#include "engine/ops/cuda/kernels/tile.cuh"

namespace slimfill::engine::cuda {
namespace {

constexpr int kWarps = kMassRowTile / 16;
constexpr int kThreads = kWarps * 32;
constexpr int kUnitsPerPage = 8;

// Thread blocks that a multiprocessor has registers for.
template <int kHeadDim>
constexpr int kMinBlocks = kHeadDim <= 96 ? 3 : 2;

template <int kHeadDim>
constexpr size_t SharedBytes() {
  return Tile<kHeadDim>::kElements * sizeof(__nv_bfloat16);
}

// Maximum and sum of a row over one split, or over all of them: [heads, padded_rows, splits + 1].
__device__ __forceinline__ float2* RowStats(const MassArguments& a, float* scratch, int head, int row, int splits) {
  return reinterpret_cast<float2*>(scratch) + (int64_t{head} * a.padded_rows + row) * (splits + 1);
}

// The running warp's rows of row tile `tile`: queries and positions of rows g and g + 8.
template <int kHeadDim>
struct WarpRows {
  QueryFragments<kHeadDim> high, low;
  int rows[2], positions[2];

  __device__ __forceinline__ void Load(const MassArguments& a, int head, int tile) {
    const int first =
        tile * kMassRowTile + static_cast<int>(threadIdx.x) / 32 * 16 + static_cast<int>(threadIdx.x) % 32 / 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      rows[i] = first + 8 * i;
      positions[i] = rows[i] < a.rows ? a.positions[rows[i]] : -1;
    }
    const int64_t offset = (int64_t{head} * a.padded_rows + first) * kHeadDim;
    high.Load(a.q_high + offset, a.q_high + offset + 8 * kHeadDim);
    low.Load(a.q_low + offset, a.q_low + offset + 8 * kHeadDim);
  }

  // Scaled scores of a page's keys, -infinity where they are not visible.
  __device__ __forceinline__ void Scores(const MassArguments& a, int page, const __nv_bfloat16* keys, float scale,
                                         float (&scores)[8][4]) const {
    AddScores<kHeadDim>(high, keys, scores);
    AddScores<kHeadDim>(low, keys, scores);
    const bool excluded = a.excluded != nullptr && a.excluded[page] != 0;
    const int first_key = a.pages[page].block * kTileRows + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = first_key + n * 8 + e % 2;
        const bool visible = !excluded && key <= positions[e / 2] && key < a.end_position;
        scores[n][e] = visible ? scores[n][e] * scale : -INFINITY;
      }
    }
  }
};

template <int kHeadDim>
__device__ __forceinline__ void LoadKeys(const MassArguments& a, int head, int page, __nv_bfloat16* shared) {
  const __nv_bfloat16* keys = PageKeys<kHeadDim>(a.pages[page], a.kv_heads[head]);
  LoadRowsAsync<kHeadDim, kTileRows>(shared, keys, threadIdx.x, kThreads);
  CopyAsyncCommit();
  CopyAsyncWait<0>();
  __syncthreads();
}

// Grid: splits, row tiles, heads.
template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, kMinBlocks<kHeadDim>)
    MassStatsKernel(MassArguments a, float* scratch, float scale) {
  DYN_SMEM(raw);
  auto* keys = reinterpret_cast<__nv_bfloat16*>(raw);
  const int head = blockIdx.z, splits = gridDim.x;
  WarpRows<kHeadDim> rows;
  rows.Load(a, head, blockIdx.y);
  RunningSoftmax softmax;
  const int first = blockIdx.x * kMassSplitPages, end = min(first + kMassSplitPages, a.page_count);
  for (int page = first; page < end; ++page) {
    LoadKeys<kHeadDim>(a, head, page, keys);
    float scores[8][4] = {}, rescale[2];
    rows.Scores(a, page, keys, scale, scores);
    softmax.Add(scores, rescale);
    __syncthreads();  // all are done with the keys
  }
  softmax.Finish();
  if (threadIdx.x % 4 != 0) return;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    RowStats(a, scratch, head, rows.rows[i], splits)[blockIdx.x] = make_float2(softmax.max[i], softmax.sum[i]);
  }
}

// One thread a row; leaves the maximum (0 for a row that sees nothing) and the sum's inverse behind the splits' parts.
__global__ void __launch_bounds__(kMassRowTile) MassMergeKernel(MassArguments a, float* scratch, int splits) {
  float2* stats = RowStats(a, scratch, blockIdx.y, blockIdx.x * kMassRowTile + threadIdx.x, splits);
  float max = -INFINITY, sum = 0.0f;
  for (int i = 0; i < splits; ++i) max = fmaxf(max, stats[i].x);
  const float base = max == -INFINITY ? 0.0f : max;
  for (int i = 0; i < splits; ++i) sum += stats[i].y * exp2f(stats[i].x - base);
  stats[splits] = make_float2(base, sum > 0.0f ? 1.0f / sum : 0.0f);
}

// Adds up a row's probabilities over each unit: masses[i][n] of rows g and g + 8, for all lanes of a group of four.
__device__ __forceinline__ void UnitMasses(const float (&probabilities)[8][4], bool whole_block,
                                           float (&masses)[2][kUnitsPerPage]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int n = 0; n < kUnitsPerPage; ++n) masses[i][n] = UnitSum(probabilities[n], i);
    if (!whole_block) continue;
#pragma unroll
    for (int n = 1; n < kUnitsPerPage; ++n) masses[i][0] += masses[i][n];
  }
}

__device__ __forceinline__ float Combine(float a, float b, bool add) { return add ? a + b : fmaxf(a, b); }

// Grid: pages, heads. Rows pass in tiles, in order.
template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, kMinBlocks<kHeadDim>)
    MassUnitsKernel(MassArguments a, float* scratch, int splits, float scale, float* out) {
  DYN_SMEM(raw);
  SMEM_ARRAY(float, partial, kWarps* kUnitsPerPage);
  auto* keys = reinterpret_cast<__nv_bfloat16*>(raw);
  const int page = blockIdx.x, head = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const bool whole_block = a.unit_tokens == kTileRows;
  const int units = whole_block ? 1 : kUnitsPerPage;
  LoadKeys<kHeadDim>(a, head, page, keys);
  float best[kUnitsPerPage] = {};
  for (int tile = 0; tile * kMassRowTile < a.rows; ++tile) {
    WarpRows<kHeadDim> rows;
    rows.Load(a, head, tile);
    float scores[8][4] = {};
    rows.Scores(a, page, keys, scale, scores);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float2 stats = RowStats(a, scratch, head, rows.rows[i], splits)[splits];
#pragma unroll
      for (int n = 0; n < 8; ++n) {
#pragma unroll
        for (int e = 2 * i; e < 2 * i + 2; ++e) scores[n][e] = exp2f(scores[n][e] - stats.x) * stats.y;
      }
    }
    float masses[2][kUnitsPerPage];
    UnitMasses(scores, whole_block, masses);
#pragma unroll
    for (int n = 0; n < kUnitsPerPage; ++n) {
      float value = Combine(masses[0][n], masses[1][n], a.mean);
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        value = Combine(value, __shfl_xor_sync(kFullWarp, value, offset), a.mean);
      }
      best[n] = Combine(best[n], value, a.mean);
    }
  }
  if (lane == 0) {
#pragma unroll
    for (int n = 0; n < kUnitsPerPage; ++n) partial[warp * kUnitsPerPage + n] = best[n];
  }
  __syncthreads();
  if (static_cast<int>(threadIdx.x) >= units) return;
  float value = 0.0f;
  for (int i = 0; i < kWarps; ++i) value = Combine(value, partial[i * kUnitsPerPage + threadIdx.x], a.mean);
  if (a.mean) value /= static_cast<float>(a.rows);
  out[(int64_t{head} * a.page_count + page) * units + threadIdx.x] = value;
}

}  // namespace

cudaError_t AttentionMass(const MassArguments& a, float* scratch, float* out, cudaStream_t stream) {
  const int splits = (a.page_count + kMassSplitPages - 1) / kMassSplitPages;
  const int row_tiles = a.padded_rows / kMassRowTile;
  const float scale = kLog2E / sqrtf(static_cast<float>(a.head_dim));
  return ForHeadDim(a.head_dim, [&](auto head_dim) {
    constexpr int kHeadDim = decltype(head_dim)::value;
    constexpr size_t kShared = SharedBytes<kHeadDim>();
    cudaError_t error = Launch(MassStatsKernel<kHeadDim>, dim3(splits, row_tiles, a.heads), dim3(kThreads), kShared,
                               stream, a, scratch, scale);
    if (error != cudaSuccess) return error;
    error = Launch(MassMergeKernel, dim3(row_tiles, a.heads), dim3(kMassRowTile), 0, stream, a, scratch, splits);
    if (error != cudaSuccess) return error;
    return Launch(MassUnitsKernel<kHeadDim>, dim3(a.page_count, a.heads), dim3(kThreads), kShared, stream, a, scratch,
                  splits, scale, out);
  });
}

}  // namespace slimfill::engine::cuda
