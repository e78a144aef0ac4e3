// Attention of prefill: a thread block takes 128 queries of one head and walks over the KV pages they see, one page a
// step, the next page on its way by cp.async. A warp holds 16 queries: scores, running softmax and output stay in its
// registers. A row meets its pages in the same order whatever other rows there are, and pages behind it change no bit.
#include "engine/ops/cuda/kernels/tile.cuh"

namespace slimfill::engine::cuda {
namespace {

constexpr int kWarps = kFlashRowTile / 16;
constexpr int kThreads = kWarps * 32;

// Two stages of keys and values. The queries pass through the second stage before it is needed: 128 rows, two tiles.
template <int kHeadDim>
constexpr size_t SharedBytes() {
  static_assert(kFlashRowTile == 2 * kTileRows);
  return size_t{4} * Tile<kHeadDim>::kElements * sizeof(__nv_bfloat16);
}

// Stages the block's queries, zeros behind the last, and takes this warp's as fragments.
template <int kHeadDim>
__device__ __forceinline__ void TakeQueries(const __nv_bfloat16* q, int64_t q_stride, int rows, bool aligned,
                                            __nv_bfloat16* shared, QueryFragments<kHeadDim>& queries) {
  constexpr int kPitch = Tile<kHeadDim>::kPitch, kChunks = kHeadDim / 8;
  for (int i = threadIdx.x; i < kFlashRowTile * kChunks; i += kThreads) {
    const int row = i / kChunks, col = i % kChunks * 8;
    uint4 chunk = make_uint4(0u, 0u, 0u, 0u);
    const __nv_bfloat16* from = q + row * q_stride + col;
    if (row < rows && aligned) {
      chunk = *reinterpret_cast<const uint4*>(from);
    } else if (row < rows) {
      const auto* pairs = reinterpret_cast<const uint32_t*>(from);
      chunk = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    }
    *reinterpret_cast<uint4*>(shared + row * kPitch + col) = chunk;
  }
  __syncthreads();
  const int lane = threadIdx.x % 32;
  const __nv_bfloat16* own = shared + (threadIdx.x / 32 * 16 + lane % 16) * kPitch + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) LoadMatrices<false>(queries.a[k], own + k * 16);
}

// Small heads leave registers for two thread blocks on a multiprocessor.
template <int kHeadDim>
constexpr int kMinBlocks = kHeadDim <= 32 ? 2 : 1;

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, kMinBlocks<kHeadDim>)
    FlashKernel(const __nv_bfloat16* q, int64_t q_stride, const int32_t* positions, const KvPage* pages,
                const int32_t* page_counts, __nv_bfloat16* out, int64_t out_stride, int rows, HeadShape shape,
                float scale, bool q_aligned) {
  constexpr int kElements = Tile<kHeadDim>::kElements;
  DYN_SMEM(raw);
  auto* tiles = reinterpret_cast<__nv_bfloat16*>(raw);  // [stage][keys, values]
  const int tile = gridDim.x - 1 - blockIdx.x;          // long rows first
  const int head = blockIdx.y, kv_head = head / (shape.heads / shape.kv_heads);
  const int first_row = tile * kFlashRowTile, page_count = page_counts[tile];
  const int lane = threadIdx.x % 32, warp_row = first_row + static_cast<int>(threadIdx.x) / 32 * 16;

  QueryFragments<kHeadDim> queries;
  TakeQueries<kHeadDim>(q + first_row * q_stride + head * kHeadDim, q_stride, rows - first_row, q_aligned,
                        tiles + 2 * kElements, queries);
  const int own_rows[2] = {warp_row + lane / 4, warp_row + lane / 4 + 8};
  const int own_positions[2] = {own_rows[0] < rows ? positions[own_rows[0]] : -1,
                                own_rows[1] < rows ? positions[own_rows[1]] : -1};
  const int largest = warp_row < rows ? positions[min(warp_row + 15, rows - 1)] : -1;

  const auto load_page = [&](int index) {
    __nv_bfloat16* stage = tiles + index % 2 * 2 * kElements;
    LoadRowsAsync<kHeadDim, kTileRows>(stage, PageKeys<kHeadDim>(pages[index], kv_head), threadIdx.x, kThreads);
    LoadRowsAsync<kHeadDim, kTileRows>(stage + kElements, PageValues<kHeadDim>(pages[index], kv_head), threadIdx.x,
                                       kThreads);
    CopyAsyncCommit();
  };
  RunningSoftmax softmax;
  float result[kHeadDim / 8][4] = {};
  if (page_count > 0) load_page(0);
  for (int index = 0; index < page_count; ++index) {
    CopyAsyncWait<0>();
    __syncthreads();  // the page is there for all, and all are done with the stage that is loaded next
    if (index + 1 < page_count) load_page(index + 1);
    const int first_key = pages[index].block * kTileRows;
    if (first_key > largest) continue;
    const __nv_bfloat16* keys = tiles + index % 2 * 2 * kElements;
    float scores[8][4] = {};
    AddScores<kHeadDim>(queries, keys, scores);
    ScaleAndMask(scores, scale, first_key, own_positions);
    float rescale[2];
    softmax.Add(scores, rescale);
    Rescale<kHeadDim>(rescale, result);
    AddValues<kHeadDim>(scores, keys + kElements, result);
  }
  softmax.Finish();
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (own_rows[i] >= rows) continue;
    const float inverse = softmax.sum[i] > 0.0f ? 1.0f / softmax.sum[i] : 0.0f;
    __nv_bfloat16* row = out + own_rows[i] * out_stride + head * kHeadDim + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
      *reinterpret_cast<uint32_t*>(row + n * 8) = PackBf16(result[n][2 * i] * inverse, result[n][2 * i + 1] * inverse);
    }
  }
}

}  // namespace

cudaError_t FlashAttention(const __nv_bfloat16* q, int64_t q_stride, const int32_t* positions, const KvPage* pages,
                           const int32_t* page_counts, __nv_bfloat16* out, int64_t out_stride, int rows,
                           HeadShape shape, cudaStream_t stream) {
  const dim3 grid((rows + kFlashRowTile - 1) / kFlashRowTile, shape.heads);
  const float scale = kLog2E / sqrtf(static_cast<float>(shape.head_dim));
  const bool q_aligned = reinterpret_cast<uintptr_t>(q) % 16 == 0 && q_stride % 8 == 0;
  return ForHeadDim(shape.head_dim, [&](auto head_dim) {
    constexpr int kHeadDim = decltype(head_dim)::value;
    return Launch(FlashKernel<kHeadDim>, grid, dim3(kThreads), SharedBytes<kHeadDim>(), stream, q, q_stride, positions,
                  pages, page_counts, out, out_stride, rows, shape, scale, q_aligned);
  });
}

}  // namespace slimfill::engine::cuda
