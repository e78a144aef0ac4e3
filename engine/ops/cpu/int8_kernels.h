// Matrix products of 8-bit integers, one table for each instruction-set level. What kernels.h says of its files holds
// for these too: they are built with their level's flags and include no inline functions.
//
// Numbers. A row of x or of a weight is cut into groups of 64 columns (the last may be shorter); a value is its group's
// scale times an integer in [-127, 127]. Products are summed as integers within a group, which is exact in any order;
// groups are added in f32 in increasing order, each as
//   sum += float(integers) * (weight scale * x scale)
// with every operation rounded on its own (no fused multiply-add). So every level gives the same bits, and a row's
// result is the same alone as among others.
//
// Layout. A panel holds 64 rows of a weight, group after group: the rows' scales (bf16, [64]), then for every four
// columns [64][4] integers, stored + 128: a dot-product instruction takes unsigned numbers times signed ones.
// Where a row ends, integers are 0 up to a multiple of four columns.
#pragma once

#include <cstdint>

namespace slimfill::engine::cpu {

inline constexpr int kGroupCols = 64;
inline constexpr int kInt8PanelRows = 64;
inline constexpr int kInt8StepBytes = kInt8PanelRows * 4;  // of four columns of a panel
inline constexpr int kInt8ScaleBytes = kInt8PanelRows * 2;

// Of a group of a row of x.
struct Int8Group {
  float scale;
  int32_t offset;  // -128 times the sum of the integers: what undoes the weights' + 128
};

struct Int8Rows {
  const int8_t* values;
  int64_t stride;
  const Int8Group* groups;
  int64_t group_stride;  // groups of a row
  int64_t rows;
};

struct Int8Kernels {
  const char* name;
  // x bf16 [cols] -> values, with zeros up to a multiple of four, and its groups. A group without a value above 1e-30
  // becomes zeros; one with a number that is not finite becomes NaN.
  void (*quantize)(const uint16_t* x, int64_t cols, int8_t* values, Int8Group* groups);
  // acc[r][c] (+)= x's row r times the panel's row c, over the first `cols` (a multiple of four) columns. `panel`
  // begins at the group at which x does.
  void (*gemm_panel)(const Int8Rows& x, const uint8_t* panel, int64_t cols, bool accumulate, float* acc,
                     int64_t acc_stride);
};

// Each is safe to call only where the machine has the instructions (isa.h).
const Int8Kernels& PortableInt8Kernels();
const Int8Kernels& Avx2Int8Kernels();
const Int8Kernels& Avx512VnniInt8Kernels();

}  // namespace slimfill::engine::cpu
