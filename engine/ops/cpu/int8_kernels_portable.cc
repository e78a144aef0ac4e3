#include "engine/ops/cpu/int8_quantize.inc"

namespace slimfill::engine::cpu {
namespace {

// sums[c] += four columns of x times the panel's.
void AddStep(const int8_t* x, const uint8_t* panel, int32_t* sums) {
  for (int c = 0; c < kInt8PanelRows; ++c) {
    sums[c] += x[0] * panel[4 * c] + x[1] * panel[4 * c + 1] + x[2] * panel[4 * c + 2] + x[3] * panel[4 * c + 3];
  }
}

void GemmRow(const int8_t* x, const Int8Group* groups, const uint8_t* panel, int64_t cols, float* acc) {
  for (int64_t first = 0; first < cols; first += kGroupCols, ++groups) {
    uint16_t scales[kInt8PanelRows];
    std::memcpy(scales, panel, sizeof(scales));
    panel += kInt8ScaleBytes;
    int32_t sums[kInt8PanelRows];
    for (int32_t& sum : sums) sum = groups->offset;
    const int64_t end = first + kGroupCols < cols ? first + kGroupCols : cols;
    for (int64_t k = first; k < end; k += 4, panel += kInt8StepBytes) AddStep(x + k, panel, sums);
    for (int c = 0; c < kInt8PanelRows; ++c) {
      const float scale = FromBits(static_cast<uint32_t>(scales[c]) << 16) * groups->scale;
      acc[c] += static_cast<float>(sums[c]) * scale;
    }
  }
}

void GemmPanel(const Int8Rows& x, const uint8_t* panel, int64_t cols, bool accumulate, float* acc, int64_t acc_stride) {
  for (int64_t r = 0; r < x.rows; ++r) {
    float* row = acc + r * acc_stride;
    if (!accumulate) std::memset(row, 0, kInt8PanelRows * sizeof(float));
    GemmRow(x.values + r * x.stride, x.groups + r * x.group_stride, panel, cols, row);
  }
}

constexpr Int8Kernels kKernels = {.name = "portable", .quantize = Quantize, .gemm_panel = GemmPanel};

}  // namespace

const Int8Kernels& PortableInt8Kernels() { return kKernels; }

}  // namespace slimfill::engine::cpu
