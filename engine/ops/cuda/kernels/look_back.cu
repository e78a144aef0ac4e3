// Where tokens look back to: a thread block takes 64 queries of one head and walks over the pages twice, one page a
// step, the next page on its way by cp.async: first over all for each row's maximum and sum, then over those with far
// units for the best of them. The second pass starts from final numbers, so that units with the same scores have the
// same bits wherever they are, and the first one wins. Pages behind a row change no bit.
#include "engine/ops/cuda/kernels/tile.cuh"

namespace slimfill::engine::cuda {
namespace {

constexpr int kRowTile = 64;
constexpr int kThreads = kRowTile / 16 * 32;
constexpr int kUnitTokens = 8;
constexpr int kUnitsPerPage = kTileRows / kUnitTokens;

// Two stages of keys.
template <int kHeadDim>
constexpr size_t SharedBytes() {
  return size_t{2} * Tile<kHeadDim>::kElements * sizeof(__nv_bfloat16);
}

// The end of the far units of a row; negative or small where it has none.
__device__ __forceinline__ int FarEnd(const LookArguments& a, int position) {
  return position / kUnitTokens - a.far_units + 1;
}

// What the running warp knows of its rows g and g + 8.
struct WarpLooks {
  int rows[2], positions[2];
  int last_position;  // of all 16 rows, -1 where there are none
  RunningSoftmax softmax;
  float inverse[2];  // of the sums
  Look best[2] = {{-1, 0.0f}, {-1, 0.0f}};

  __device__ __forceinline__ WarpLooks(const LookArguments& a, int first_row) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      rows[i] = first_row + static_cast<int>(threadIdx.x) % 32 / 4 + 8 * i;
      positions[i] = rows[i] < a.rows ? a.positions[rows[i]] : -1;
    }
    last_position = first_row < a.rows ? a.positions[min(first_row + 15, a.rows - 1)] : -1;
  }

  __device__ __forceinline__ void FinishSoftmax() {
    softmax.Finish();
#pragma unroll
    for (int i = 0; i < 2; ++i) inverse[i] = softmax.sum[i] > 0.0f ? 1.0f / softmax.sum[i] : 0.0f;
  }

  // `scores` of page `page`, scaled.
  __device__ __forceinline__ void LookAt(const LookArguments& a, int page, float (&scores)[8][4]) {
#pragma unroll
    for (int n = 0; n < kUnitsPerPage; ++n) {
      const int unit = page * kUnitsPerPage + n;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int e = 2 * i; e < 2 * i + 2; ++e) scores[n][e] = exp2f(scores[n][e] - softmax.max[i]);
        const float mass = UnitSum(scores[n], i) * inverse[i];
        if (unit >= a.first_far_unit && unit < FarEnd(a, positions[i]) && mass > best[i].mass) best[i] = {unit, mass};
      }
    }
  }
};

// Grid: row tiles, heads. Block b of the prompt is page b.
template <int kHeadDim>
__global__ void __launch_bounds__(kThreads) LookBackKernel(LookArguments a, float scale, Look* out) {
  constexpr int kElements = Tile<kHeadDim>::kElements;
  DYN_SMEM(raw);
  auto* stages = reinterpret_cast<__nv_bfloat16*>(raw);
  const int tile = gridDim.x - 1 - blockIdx.x;  // long rows first
  const int head = a.heads[blockIdx.y], kv_head = head / (a.shape.heads / a.shape.kv_heads);
  WarpLooks looks(a, tile * kRowTile + static_cast<int>(threadIdx.x) / 32 * 16);
  const auto row_of = [&](int row) { return row < a.rows ? a.q + row * a.q_stride + head * kHeadDim : nullptr; };
  QueryFragments<kHeadDim> queries;
  queries.Load(row_of(looks.rows[0]), row_of(looks.rows[1]));

  // Steps: the pages that the tile's last row sees, then those of its far units.
  const int last_position = a.positions[min((tile + 1) * kRowTile, a.rows) - 1];
  const int pages = last_position / kTileRows + 1, first_far = a.first_far_unit / kUnitsPerPage;
  const int far_end = (max(FarEnd(a, last_position), 0) + kUnitsPerPage - 1) / kUnitsPerPage;
  const int steps = far_end > first_far ? pages + far_end - first_far : 0;
  const auto page_of = [&](int step) { return step < pages ? step : step - pages + first_far; };
  const auto load_page = [&](int step) {
    LoadRowsAsync<kHeadDim, kTileRows>(stages + step % 2 * kElements,
                                       PageKeys<kHeadDim>(a.pages[page_of(step)], kv_head), threadIdx.x, kThreads);
    CopyAsyncCommit();
  };
  if (steps > 0) load_page(0);
  for (int step = 0; step < steps; ++step) {
    CopyAsyncWait<0>();
    __syncthreads();  // the page is there for all, and all are done with the stage that is loaded next
    if (step + 1 < steps) load_page(step + 1);
    if (step == pages) looks.FinishSoftmax();
    const int page = page_of(step);
    if (page * kTileRows > looks.last_position) continue;
    float scores[8][4] = {};
    AddScores<kHeadDim>(queries, stages + step % 2 * kElements, scores);
    ScaleAndMask(scores, scale, page * kTileRows, looks.positions);
    if (step < pages) {
      float rescale[2];
      looks.softmax.Add(scores, rescale);
    } else {
      looks.LookAt(a, page, scores);
    }
  }
  if (threadIdx.x % 4 != 0) return;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (looks.rows[i] < a.rows) out[int64_t{looks.rows[i]} * a.head_count + blockIdx.y] = looks.best[i];
  }
}

}  // namespace

cudaError_t LookBack(const LookArguments& a, Look* out, cudaStream_t stream) {
  const dim3 grid((a.rows + kRowTile - 1) / kRowTile, a.head_count);
  const float scale = kLog2E / sqrtf(static_cast<float>(a.shape.head_dim));
  return ForHeadDim(a.shape.head_dim, [&](auto head_dim) {
    constexpr int kHeadDim = decltype(head_dim)::value;
    return Launch(LookBackKernel<kHeadDim>, grid, dim3(kThreads), SharedBytes<kHeadDim>(), stream, a, scale, out);
  });
}

}  // namespace slimfill::engine::cuda
