// Attention of decode, split over the keys: a thread block takes a few pages of one sequence and up to 16 query heads
// that share a KV head. Each of its four warps takes a quarter of every page, with a softmax and output of its own;
// they are merged at the end, and the splits of a row by a second kernel, in order. Splits are cut by the row's own
// pages, so that a row's bits do not depend on the batch.
#include "engine/ops/cuda/kernels/tile.cuh"

namespace slimfill::engine::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kWarpKeys = kTileRows / kWarps;  // 16
constexpr int kGroupHeads = 16;

// What a warp, or a split, has of one head: the output not divided by the sum, the maximum, the sum.
template <int kHeadDim>
constexpr int kPartFloats = kHeadDim + 2;

// Stages of tiles, and after the last of them the warps' parts.
template <int kHeadDim>
constexpr size_t SharedBytes() {
  const size_t tiles = size_t{4} * Tile<kHeadDim>::kElements * sizeof(__nv_bfloat16);
  const size_t parts = size_t{kWarps} * kGroupHeads * kPartFloats<kHeadDim> * sizeof(float);
  return tiles > parts ? tiles : parts;
}

template <int kHeadDim>
__device__ __forceinline__ void StorePart(float* part, const float (&result)[kHeadDim / 8][4],
                                          const RunningSoftmax& softmax) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float* row = part + (lane / 4 + 8 * i) * kPartFloats<kHeadDim>;
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
      row[n * 8 + lane % 4 * 2] = result[n][2 * i];
      row[n * 8 + lane % 4 * 2 + 1] = result[n][2 * i + 1];
    }
    if (lane % 4 == 0) {
      row[kHeadDim] = softmax.max[i];
      row[kHeadDim + 1] = softmax.sum[i];
    }
  }
}

// Element d of the sum of `count` parts that are `pitch` floats apart, relative to the largest maximum, and that
// maximum and the sum of sums.
struct Merged {
  float value, max, sum;
};
__device__ __forceinline__ Merged MergeParts(const float* parts, int64_t pitch, int count, int head_dim, int d) {
  Merged merged = {0.0f, -INFINITY, 0.0f};
  for (int i = 0; i < count; ++i) merged.max = fmaxf(merged.max, parts[i * pitch + head_dim]);
  const float base = merged.max == -INFINITY ? 0.0f : merged.max;
  for (int i = 0; i < count; ++i) {
    const float weight = exp2f(parts[i * pitch + head_dim] - base);
    merged.value += weight * parts[i * pitch + d];
    merged.sum += weight * parts[i * pitch + head_dim + 1];
  }
  return merged;
}

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads)
    DecodeSplitKernel(const __nv_bfloat16* q, int64_t q_stride, const DecodeRow* rows, const DecodeSplit* splits,
                      const KvPage* pages, float* scratch, HeadShape shape, float scale) {
  constexpr int kPitch = Tile<kHeadDim>::kPitch, kWarpElements = kWarpKeys * kPitch;
  DYN_SMEM(raw);
  const DecodeSplit split = splits[blockIdx.x];
  const int group = shape.heads / shape.kv_heads, kv_head = blockIdx.y;
  const int first_head = kv_head * group + blockIdx.z * kGroupHeads;
  const int heads = min(kGroupHeads, (kv_head + 1) * group - first_head);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  // This warp's own stages: [stage][keys, values][16 rows].
  __nv_bfloat16* tiles = reinterpret_cast<__nv_bfloat16*>(raw) + warp * 4 * kWarpElements;

  const auto head_row = [&](int index) {
    return index < heads ? q + split.row * q_stride + (first_head + index) * kHeadDim : nullptr;
  };
  QueryFragments<kHeadDim> queries;
  queries.Load(head_row(lane / 4), head_row(lane / 4 + 8));
  const int position = rows[split.row].position;

  const auto load_page = [&](int index) {
    const KvPage page = pages[split.first_page + index];
    __nv_bfloat16* stage = tiles + index % 2 * 2 * kWarpElements;
    const int first = warp * kWarpKeys * kHeadDim;
    LoadRowsAsync<kHeadDim, kWarpKeys>(stage, PageKeys<kHeadDim>(page, kv_head) + first, lane, 32);
    LoadRowsAsync<kHeadDim, kWarpKeys>(stage + kWarpElements, PageValues<kHeadDim>(page, kv_head) + first, lane, 32);
    CopyAsyncCommit();
  };
  RunningSoftmax softmax;
  float result[kHeadDim / 8][4] = {};
  load_page(0);
  for (int index = 0; index < split.page_count; ++index) {
    CopyAsyncWait<0>();
    __syncwarp();  // the rows are there for the whole warp, and it is done with the stage that is loaded next
    if (index + 1 < split.page_count) load_page(index + 1);
    const __nv_bfloat16* keys = tiles + index % 2 * 2 * kWarpElements;
    float scores[2][4] = {};
    AddScores<kHeadDim>(queries, keys, scores);
    const int first_key = pages[split.first_page + index].block * kTileRows + warp * kWarpKeys;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool visible = first_key + n * 8 + lane % 4 * 2 + e % 2 <= position;
        scores[n][e] = visible ? scores[n][e] * scale : -INFINITY;
      }
    }
    float rescale[2];
    softmax.Add(scores, rescale);
    Rescale<kHeadDim>(rescale, result);
    AddValues<kHeadDim>(scores, keys + kWarpElements, result);
  }
  softmax.Finish();
  __syncthreads();  // all warps are done with their tiles
  float* parts = reinterpret_cast<float*>(raw);
  StorePart<kHeadDim>(parts + warp * kGroupHeads * kPartFloats<kHeadDim>, result, softmax);
  __syncthreads();
  for (int i = threadIdx.x; i < heads * kHeadDim; i += kThreads) {
    const int head = i / kHeadDim, d = i % kHeadDim;
    const Merged merged =
        MergeParts(parts + head * kPartFloats<kHeadDim>, kGroupHeads * kPartFloats<kHeadDim>, kWarps, kHeadDim, d);
    float* to = scratch + (int64_t{blockIdx.x} * shape.heads + first_head + head) * kPartFloats<kHeadDim>;
    to[d] = merged.value;
    if (d == 0) {
      to[kHeadDim] = merged.max;
      to[kHeadDim + 1] = merged.sum;
    }
  }
}

// One thread block a row and head, one thread an element.
__global__ void __launch_bounds__(128) DecodeMergeKernel(const float* scratch, const DecodeRow* rows,
                                                         __nv_bfloat16* out, int64_t out_stride, HeadShape shape) {
  const DecodeRow row = rows[blockIdx.x];
  const int head = blockIdx.y, head_dim = shape.head_dim, d = threadIdx.x;
  if (d >= head_dim) return;
  const int64_t part = head_dim + 2;
  const Merged merged = MergeParts(scratch + (int64_t{row.first_split} * shape.heads + head) * part, shape.heads * part,
                                   row.split_count, head_dim, d);
  const float value = merged.sum > 0.0f ? merged.value / merged.sum : 0.0f;
  out[blockIdx.x * out_stride + head * head_dim + d] = __float2bfloat16_rn(value);
}

}  // namespace

cudaError_t DecodeAttention(const __nv_bfloat16* q, int64_t q_stride, const DecodeRow* rows, int row_count,
                            const DecodeSplit* splits, int split_count, const KvPage* pages, float* scratch,
                            __nv_bfloat16* out, int64_t out_stride, HeadShape shape, cudaStream_t stream) {
  const int group = shape.heads / shape.kv_heads;
  const dim3 grid(split_count, shape.kv_heads, (group + kGroupHeads - 1) / kGroupHeads);
  const float scale = kLog2E / sqrtf(static_cast<float>(shape.head_dim));
  const cudaError_t error = ForHeadDim(shape.head_dim, [&](auto head_dim) {
    constexpr int kHeadDim = decltype(head_dim)::value;
    return Launch(DecodeSplitKernel<kHeadDim>, grid, dim3(kThreads), SharedBytes<kHeadDim>(), stream, q, q_stride, rows,
                  splits, pages, scratch, shape, scale);
  });
  if (error != cudaSuccess) return error;
  return Launch(DecodeMergeKernel, dim3(row_count, shape.heads), dim3(128), 0, stream, scratch, rows, out, out_stride,
                shape);
}

}  // namespace slimfill::engine::cuda
