#include "engine/ops/cpu/packed_weight_int8.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/tensor/bf16.h"

namespace slimfill::engine::cpu {
namespace {

constexpr float kMaxInteger = 127;
constexpr uint8_t kZero = 128;         // the integer 0 as it is stored
constexpr float kSmallest = 1e-30f;    // of a group's values; below, all are taken for 0
constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer

// `count` values of a group -> integers, + 128. Returns the scale, bf16.
uint16_t QuantizeGroup(const float* values, int64_t count, uint8_t* integers) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(values[i]));
  if (!(largest >= kSmallest)) {
    std::fill_n(integers, count, kZero);
    return 0;
  }
  const uint16_t scale = FloatToBf16(largest / kMaxInteger);
  const float inverse = 1 / Bf16ToFloat(scale);
  for (int64_t i = 0; i < count; ++i) {
    const float scaled = std::clamp(values[i] * inverse, -kMaxInteger, kMaxInteger);
    integers[i] = static_cast<uint8_t>((scaled + kRound) - kRound + kZero);
  }
  return scale;
}

// A row -> its place in the panel.
void PackRow(const float* values, int64_t cols, int64_t row, uint8_t* panel) {
  for (int64_t first = 0; first < cols; first += kGroupCols) {
    const int64_t count = std::min<int64_t>(kGroupCols, cols - first);
    uint8_t integers[kGroupCols];
    std::fill_n(integers, kGroupCols, kZero);
    const uint16_t scale = QuantizeGroup(values + first, count, integers);
    std::memcpy(panel + row * sizeof(scale), &scale, sizeof(scale));
    panel += kInt8ScaleBytes;
    for (int64_t i = 0; i < count; i += 4, panel += kInt8StepBytes) std::memcpy(panel + row * 4, integers + i, 4);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Int8Weight>> PackInt8Weight(const Context& context, const WeightMatrix& weight) {
  const int64_t rows = weight.rows(), cols = weight.cols();
  const int64_t panels = (rows + kInt8PanelRows - 1) / kInt8PanelRows;
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, AllocateHostBuffer(panels * Int8Weight::PanelBytes(cols)));
  auto packed = std::make_unique<Int8Weight>(rows, cols, std::move(buffer));
  context.pool.ParallelFor(panels, [&](int64_t panel, int worker) {
    auto* values = static_cast<float*>(context.scratch.ForWorker(worker, cols * static_cast<int64_t>(sizeof(float))));
    for (int64_t i = 0; i < kInt8PanelRows; ++i) {
      const int64_t row = panel * kInt8PanelRows + i;
      if (row < rows) {
        weight.ReadRow(row, absl::MakeSpan(values, cols));
      } else {
        std::fill_n(values, cols, 0.0f);
      }
      PackRow(values, cols, i, packed->panel(panel));
    }
  });
  return packed;
}

}  // namespace slimfill::engine::cpu
