// Launchers of our kernels: plain functions over device memory, each queues its work on `stream` and returns launch
// errors. Strides are in elements. bf16 is passed as its bits' type. No result depends on how rows are batched.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "engine/model/stored_tensor.h"

struct __nv_bfloat16;

namespace slimfill::engine::cuda {

// A KV page on the device: bf16 [kv_heads, {keys, values}, 64, head_dim], zeroed when new.
struct KvPage {
  __nv_bfloat16* data;
  int32_t block;
  int32_t unused;
};

struct HeadShape {
  int heads, kv_heads, head_dim;
};

// out = x / sqrt(mean(x^2) + epsilon) * weight; x f32 [rows, cols], weight f32 [cols], out bf16.
cudaError_t RmsNorm(const float* x, int64_t x_stride, const float* weight, float epsilon, __nv_bfloat16* out,
                    int64_t out_stride, int rows, int cols, cudaStream_t stream);
// The same for every query and key head of qkv [rows, ..], in place.
cudaError_t NormHeads(__nv_bfloat16* qkv, int64_t stride, const float* q_weight, const float* k_weight, float epsilon,
                      int rows, HeadShape shape, cudaStream_t stream);

// Rotates q (in place) and k of each row, and writes k and v to slot positions[i] % 64 of pages[i]. cos_sin f32
// [context, head_dim]. REQUIRES: qkv's rows aligned to 4 bytes.
cudaError_t RopeAppend(__nv_bfloat16* qkv, int64_t stride, const int32_t* positions, __nv_bfloat16* const* pages,
                       const float* cos_sin, int rows, HeadShape shape, cudaStream_t stream);

// out[i, j] = silu(gate_up[i, j]) * gate_up[i, width + j]; gate_up bf16 [rows, 2 * width], out bf16 [rows, width].
cudaError_t SiluMul(const __nv_bfloat16* gate_up, int64_t gate_up_stride, __nv_bfloat16* out, int64_t out_stride,
                    int rows, int width, cudaStream_t stream);

// out (+)= x + bias; x f32 [rows, cols], bias f32 [cols], out f32 or bf16 (bf16 cannot accumulate).
cudaError_t AddBias(const float* x, int64_t x_stride, const float* bias, bool accumulate, float* out,
                    int64_t out_stride, int rows, int cols, cudaStream_t stream);
cudaError_t AddBias(const float* x, int64_t x_stride, const float* bias, __nv_bfloat16* out, int64_t out_stride,
                    int rows, int cols, cudaStream_t stream);

// rows = first_row + the places of the bits set in mask [words], in order; as many as there are.
cudaError_t ListRows(const uint32_t* mask, int words, int first_row, int32_t* rows, cudaStream_t stream);

// out[i] = x[indices[i]], f32. REQUIRES: out and x do not overlap.
cudaError_t GatherRows(const float* x, int64_t x_stride, const int32_t* indices, float* out, int64_t out_stride,
                       int rows, int cols, cudaStream_t stream);

// Rows of a model file's tensor, `row_bytes` apart, as f32 or bf16; the same bits as DequantizeRow on the host.
cudaError_t DequantizeRows(GgmlType type, const uint8_t* stored, int64_t row_bytes, float* out, int64_t out_stride,
                           int rows, int cols, cudaStream_t stream);
cudaError_t DequantizeRows(GgmlType type, const uint8_t* stored, int64_t row_bytes, __nv_bfloat16* out,
                           int64_t out_stride, int rows, int cols, cudaStream_t stream);

// The index of the largest finite element of each row, the first of equals, -1 where none is finite; logits f32.
cudaError_t ArgmaxRows(const float* logits, int64_t stride, int32_t* out, int rows, int cols, cudaStream_t stream);

// The `count` largest finite elements of each row, the largest first, of equals the first one first; index -1 where
// there are no more. Behind them, as a value, the sum over the row's finite elements of exp((element - largest) /
// temperature), 0 at temperature 0. temperatures [rows], out [rows, count + 1]. REQUIRES: 0 < count <= kMostTop.
inline constexpr int kMostTop = 64;
inline constexpr int kTopSplitColumns = 8192;  // that one thread block chooses among
constexpr int TopSplits(int cols) { return (cols + kTopSplitColumns - 1) / kTopSplitColumns; }
struct TopElement {
  int32_t index;
  float value;
};
// What each row needs as scratch, aligned to 8 bytes.
constexpr int64_t TopScratchBytes(int cols, int count) {
  return int64_t{TopSplits(cols)} * (count * int64_t{sizeof(uint64_t)} + int64_t{sizeof(float)});
}
cudaError_t TopRows(const float* x, int64_t stride, int count, const float* temperatures, void* scratch,
                    TopElement* out, int rows, int cols, cudaStream_t stream);

// Causal attention of `rows` queries (positions ascending) over pages in block order. page_counts[i]: how many pages
// the rows [i * kFlashRowTile, ..) see, as an upper bound. q, out bf16 [rows, heads, head_dim]. REQUIRES: rows of q and
// out aligned to 4 bytes.
inline constexpr int kFlashRowTile = 128;
cudaError_t FlashAttention(const __nv_bfloat16* q, int64_t q_stride, const int32_t* positions, const KvPage* pages,
                           const int32_t* page_counts, __nv_bfloat16* out, int64_t out_stride, int rows,
                           HeadShape shape, cudaStream_t stream);

// Decode: each row has its own pages. A split is up to kSplitPages pages of one row: what one thread block attends to.
inline constexpr int kSplitPages = 4;
struct DecodeRow {
  int32_t position;
  int32_t first_page, page_count;    // in the page table
  int32_t first_split, split_count;  // in the splits
};
struct DecodeSplit {
  int32_t row;
  int32_t first_page, page_count;  // in the page table
};
// Floats that `splits` splits need as scratch.
constexpr int64_t DecodeScratchFloats(int64_t splits, HeadShape shape) {
  return splits * shape.heads * (shape.head_dim + 2);
}
cudaError_t DecodeAttention(const __nv_bfloat16* q, int64_t q_stride, const DecodeRow* rows, int row_count,
                            const DecodeSplit* splits, int split_count, const KvPage* pages, float* scratch,
                            __nv_bfloat16* out, int64_t out_stride, HeadShape shape, cudaStream_t stream);

// Backend::AttentionMass. q is given as high + low, bf16 [heads, padded_rows, head_dim] each, padded_rows a multiple of
// kMassRowTile; out f32 [heads, page_count * 64 / unit_tokens].
inline constexpr int kMassRowTile = 64;
inline constexpr int kMassSplitPages = 16;
struct MassArguments {
  const __nv_bfloat16 *q_high, *q_low;
  const int32_t* positions;  // [rows]
  const int32_t* kv_heads;   // [heads]: whose keys
  const uint8_t* excluded;   // [page_count] or null
  const KvPage* pages;
  int page_count, rows, padded_rows, heads, head_dim, end_position, unit_tokens;
  bool mean;
};
constexpr int64_t MassScratchFloats(const MassArguments& a) {
  const int64_t splits = (a.page_count + kMassSplitPages - 1) / kMassSplitPages;
  return int64_t{2} * a.heads * a.padded_rows * (splits + 1);
}
cudaError_t AttentionMass(const MassArguments& arguments, float* scratch, float* out, cudaStream_t stream);

// Backend::LookBack: out [rows, head_count]. REQUIRES: rows of q aligned to 4 bytes.
struct Look {
  int32_t unit;  // -1: none is far, or none gets anything
  float mass;
};
struct LookArguments {
  const __nv_bfloat16* q;  // [rows, shape.heads, shape.head_dim]
  int64_t q_stride;
  const int32_t* positions;  // [rows], increasing
  const int32_t* heads;      // [head_count]
  const KvPage* pages;       // of blocks 0, 1, .. up to the last row's
  int rows, head_count;
  int first_far_unit, far_units;  // far is from the first one to so many before the row's own
  HeadShape shape;
};
cudaError_t LookBack(const LookArguments& arguments, Look* out, cudaStream_t stream);

// Backend::UnitMeanKeys: out f32 [page_count * 8, kv_heads, head_dim].
cudaError_t UnitMeanKeys(const KvPage* pages, int page_count, int32_t end_position, float* out, HeadShape shape,
                         cudaStream_t stream);

}  // namespace slimfill::engine::cuda
