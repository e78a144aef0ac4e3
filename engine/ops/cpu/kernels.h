// The inner loops of the CPU backend, one table for each instruction-set level. Kernel files are compiled with their
// level's flags, so they include nothing with inline functions of its own (an inline function compiled for AVX-512 must
// not be the one that the rest of the program links): everything here is plain pointers and numbers.
//
// Layouts. bf16 numbers are their 16 bits. A "packed" matrix [k, n] is [k / 2][n][2]: two consecutive k side by side,
// what a dot-product instruction takes. Weights are packed in panels of 64 columns (output features), keys of a page as
// [head_dim / 2][slot][2], values of a page as [slot / 2][head_dim][2].
//
// Every sum over k runs in increasing k in one order for each element (a tile of AMX takes 32 of k as one step),
// whatever the number of rows and however rows are tiled: a row's result is the same alone as among others.
#pragma once

#include <cstdint>

namespace slimfill::engine::cpu {

inline constexpr int kPanelCols = 64;  // columns of a weight panel
inline constexpr int kPageSlots = 64;  // tokens of a KV page
inline constexpr int kGroupPages = 2;  // pages of one softmax step
inline constexpr int kGroupKeys = kGroupPages * kPageSlots;
inline constexpr int kPaddedRows = 16;  // a kernel may compute rows behind an attention tile's last, up to a multiple

// Flash attention's running state for a tile of query rows.
struct AttentionTile {
  const uint16_t* q;  // [rows, head_dim], and room for rows up to a multiple of kPaddedRows
  int rows;
  int head_dim;
  float scale;    // log2(e) / sqrt(head_dim): scores are exponents of two
  float* output;  // [rows, head_dim], sum of p * v; room as q
  float* max;     // [rows], what p's exponents are relative to
  float* sum;     // [rows], sum of p
  void* scratch;  // rows * kGroupKeys floats
};

// One step's keys and values.
struct KeyGroup {
  int pages;  // 1 to kGroupPages
  const uint16_t* k[kGroupPages];
  const uint16_t* v[kGroupPages];
  const uint8_t* visible;  // [rows, kGroupPages]: the row sees the first so many slots of the page; null: sees all
  const KeyGroup* next;    // what will be asked for next, to be brought near meanwhile; or null
};

// Rows of x that a work item takes: at most `most`, in multiples of `step`, the rows of a register tile.
struct RowTiles {
  int64_t most, step;
};

// How a weight panel of 64 columns is packed.
enum class PanelLayout {
  kPairs,  // [k / 2][64][2]
  kTiles,  // [k / 32][4][16][16][2], four tiles of AMX one behind another; of the last k, less than 32, [4][k /
           // 2][16][2]
};

struct Kernels {
  PanelLayout panel_layout;
  // A tile of x, a panel's part of a k chunk and the accumulators share a core's second-level cache.
  RowTiles row_tiles;
  // acc[r][c] (+)= sum of x[r][i] * panel[i][c] for the panel's 64 columns.
  void (*gemm_panel)(const uint16_t* x, int64_t x_stride, int64_t rows, const uint16_t* panel, int64_t k,
                     bool accumulate, float* acc, int64_t acc_stride);
  // Adds a group's keys to a tile.
  void (*attend)(const AttentionTile& tile, const KeyGroup& group);

  // scores[r][slot] = q[r] . key[slot] in f32, for a page's 64 keys.
  void (*score_page)(const float* q, int64_t rows, int head_dim, const uint16_t* k, float* scores, int64_t stride);
  // The same of bf16 queries, by the level's own products.
  void (*score_keys)(const uint16_t* q, int64_t q_stride, int64_t rows, int head_dim, const uint16_t* k, float* scores,
                     int64_t stride);
  float (*row_max)(const float* x, int64_t n);
  // x = exp(scale * (x - max)) in place; returns the sum.
  float (*exp_sum)(float* x, int64_t n, float scale, float max);
  // out[u] = max(out[u], scale * sum of x over unit u's `unit` entries).
  void (*max_unit_sums)(const float* x, int64_t units, int unit, float scale, float* out);

  void (*rms_norm)(const float* x, const float* weight, int64_t n, float epsilon, uint16_t* out);
  // Normalises each of `heads` heads by itself, in place; weight [head_dim].
  void (*norm_heads)(uint16_t* x, int heads, int head_dim, const float* weight, float epsilon);
  // Half-split rotation of `heads` heads in place; cos_sin [head_dim].
  void (*rope)(uint16_t* x, int heads, int head_dim, const float* cos_sin);
  // out = silu(gate) * up.
  void (*swiglu)(const float* gate, const float* up, int64_t n, uint16_t* out);
  // out = x + bias; bias may be null.
  void (*store_f32)(const float* x, const float* bias, int64_t n, float* out);
  void (*add_f32)(const float* x, const float* bias, int64_t n, float* out);  // out += x + bias
  void (*store_bf16)(const float* x, const float* bias, int64_t n, uint16_t* out);
  void (*scale_to_bf16)(const float* x, float scale, int64_t n, uint16_t* out);
  void (*bf16_to_f32)(const uint16_t* x, int64_t n, float* out);
};

// Each is safe to call only where the machine has the instructions (isa.h).
const Kernels& PortableKernels();
const Kernels& Avx2Kernels();
const Kernels& Avx512Kernels();
const Kernels& Avx512Bf16Kernels();
const Kernels& AmxKernels();

}  // namespace slimfill::engine::cpu
