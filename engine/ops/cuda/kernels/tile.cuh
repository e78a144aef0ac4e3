// Tiles of 64 keys or values in shared memory, and a warp's work on them: 16 queries against a tile.
#pragma once

#include "engine/ops/cuda/kernels/dev.cuh"
#include "engine/ops/cuda/kernels/kernels.h"

namespace slimfill::engine::cuda {

inline constexpr int kTileRows = 64;  // a KV page's tokens
inline constexpr float kLog2E = 1.4426950408889634f;

// Rows are 16 bytes further apart than they are long: eight rows of a matrix then lie in different banks.
template <int kHeadDim>
struct Tile {
  static constexpr int kPitch = kHeadDim + 8;
  static constexpr int kElements = kTileRows * kPitch;
};

// Starts copying `kRows` dense rows; lane or thread `index` of `count` does its share.
template <int kHeadDim, int kRows>
__device__ __forceinline__ void LoadRowsAsync(__nv_bfloat16* shared, const __nv_bfloat16* global, int index,
                                              int count) {
  constexpr int kChunks = kHeadDim / 8;
  for (int i = index; i < kRows * kChunks; i += count) {
    const int row = i / kChunks, col = i % kChunks * 8;
    CopyAsync16(shared + row * Tile<kHeadDim>::kPitch + col, global + row * kHeadDim + col);
  }
}

// A page's keys (or values) of one head.
template <int kHeadDim>
__device__ __forceinline__ const __nv_bfloat16* PageKeys(const KvPage& page, int kv_head) {
  return page.data + int64_t{2} * kv_head * kTileRows * kHeadDim;
}
template <int kHeadDim>
__device__ __forceinline__ const __nv_bfloat16* PageValues(const KvPage& page, int kv_head) {
  return PageKeys<kHeadDim>(page, kv_head) + kTileRows * kHeadDim;
}

// A warp's 16 queries as fragments of Mma's first operand.
template <int kHeadDim>
struct QueryFragments {
  uint32_t a[kHeadDim / 16][4];

  // `row_low`, `row_high`: rows g and g + 8 (g = lane / 4), aligned to 4 bytes, or null for zeros.
  __device__ __forceinline__ void Load(const __nv_bfloat16* row_low, const __nv_bfloat16* row_high) {
    const int t = threadIdx.x % 4 * 2;
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int col = k * 16 + half * 8 + t;
        a[k][half * 2] = row_low == nullptr ? 0u : *reinterpret_cast<const uint32_t*>(row_low + col);
        a[k][half * 2 + 1] = row_high == nullptr ? 0u : *reinterpret_cast<const uint32_t*>(row_high + col);
      }
    }
  }
};

// scores += queries * keys^T for keys [first, first + 8 * kTiles) of a tile: scores[n] is Mma's result for keys
// first + 8 * n.
template <int kHeadDim, int kTiles>
__device__ __forceinline__ void AddScores(const QueryFragments<kHeadDim>& queries, const __nv_bfloat16* keys,
                                          float (&scores)[kTiles][4]) {
  const int lane = threadIdx.x % 32;
  const __nv_bfloat16* own = keys + (lane % 8 + lane / 16 * 8) * Tile<kHeadDim>::kPitch + lane / 8 % 2 * 8;
#pragma unroll
  for (int n = 0; n < kTiles; n += 2) {
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
      uint32_t r[4];
      LoadMatrices<false>(r, own + n * 8 * Tile<kHeadDim>::kPitch + k * 16);
      const uint32_t b0[2] = {r[0], r[1]}, b1[2] = {r[2], r[3]};
      Mma(scores[n], queries.a[k], b0);
      Mma(scores[n + 1], queries.a[k], b1);
    }
  }
}

// out += probabilities * values, for kTiles / 2 groups of 16 keys.
template <int kHeadDim, int kTiles>
__device__ __forceinline__ void AddValues(const float (&probabilities)[kTiles][4], const __nv_bfloat16* values,
                                          float (&out)[kHeadDim / 8][4]) {
  const int lane = threadIdx.x % 32;
  const __nv_bfloat16* own = values + lane % 16 * Tile<kHeadDim>::kPitch + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kTiles / 2; ++k) {
    const float(&low)[4] = probabilities[2 * k], (&high)[4] = probabilities[2 * k + 1];
    const uint32_t a[4] = {PackBf16(low[0], low[1]), PackBf16(low[2], low[3]), PackBf16(high[0], high[1]),
                           PackBf16(high[2], high[3])};
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; n += 2) {
      uint32_t r[4];
      LoadMatrices<true>(r, own + k * 16 * Tile<kHeadDim>::kPitch + n * 8);
      const uint32_t b0[2] = {r[0], r[1]}, b1[2] = {r[2], r[3]};
      Mma(out[n], a, b0);
      Mma(out[n + 1], a, b1);
    }
  }
}

// Scales the scores and takes out the keys after each row's position.
__device__ __forceinline__ void ScaleAndMask(float (&scores)[8][4], float scale, int first_key,
                                             const int (&positions)[2]) {
  const int t = threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int seen = positions[i] - first_key - t;  // the last visible column, relative to this lane's first
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& score = scores[n][2 * i + e];
        score = n * 8 + e <= seen ? score * scale : -INFINITY;
      }
    }
  }
}

// The sum of a unit's probabilities, one result of Mma, for row g + 8 * i: for all lanes of a group of four.
__device__ __forceinline__ float UnitSum(const float (&probabilities)[4], int i) {
  float sum = probabilities[2 * i] + probabilities[2 * i + 1];
  sum += __shfl_xor_sync(kFullWarp, sum, 1);
  return sum + __shfl_xor_sync(kFullWarp, sum, 2);
}

// The running maximum and sum of two rows' softmax (g and g + 8), in powers of two. A row that has seen no key has the
// maximum -infinity and the sum 0. Adding a tile of masked keys changes no bit.
struct RunningSoftmax {
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0.0f, 0.0f};  // of this lane's columns only, until Finish

  // Turns scores (scaled, masked ones -infinity) into probabilities relative to the new maximum; what was accumulated
  // before must be multiplied by `rescale`.
  template <int kTiles>
  __device__ __forceinline__ void Add(float (&scores)[kTiles][4], float (&rescale)[2]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float largest = max[i];
#pragma unroll
      for (int n = 0; n < kTiles; ++n) largest = fmaxf(largest, fmaxf(scores[n][2 * i], scores[n][2 * i + 1]));
      largest = fmaxf(largest, __shfl_xor_sync(kFullWarp, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(kFullWarp, largest, 2));
      const float base = largest == -INFINITY ? 0.0f : largest;
      rescale[i] = exp2f(max[i] - base);
      max[i] = largest;
      float added = 0.0f;
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int e = 2 * i; e < 2 * i + 2; ++e) {
          scores[n][e] = exp2f(scores[n][e] - base);
          added += scores[n][e];
        }
      }
      sum[i] = sum[i] * rescale[i] + added;
    }
  }

  __device__ __forceinline__ void Finish() {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      sum[i] += __shfl_xor_sync(kFullWarp, sum[i], 1);
      sum[i] += __shfl_xor_sync(kFullWarp, sum[i], 2);
    }
  }
};

// Brings what was accumulated to the new maximum (RunningSoftmax::Add).
template <int kHeadDim>
__device__ __forceinline__ void Rescale(const float (&rescale)[2], float (&out)[kHeadDim / 8][4]) {
#pragma unroll
  for (int n = 0; n < kHeadDim / 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) out[n][e] *= rescale[e / 2];
  }
}

// Calls `function` with the head dimension as a constant: multiples of 16 up to 128.
template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};
template <typename Function>
cudaError_t ForHeadDim(int head_dim, Function function) {
  switch (head_dim) {
    case 16:
      return function(Constant<16>());
    case 32:
      return function(Constant<32>());
    case 48:
      return function(Constant<48>());
    case 64:
      return function(Constant<64>());
    case 80:
      return function(Constant<80>());
    case 96:
      return function(Constant<96>());
    case 112:
      return function(Constant<112>());
    case 128:
      return function(Constant<128>());
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace slimfill::engine::cuda
