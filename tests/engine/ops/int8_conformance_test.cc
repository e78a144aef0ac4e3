// The CPU backend's linear layers on 8-bit integers: every instruction-set level against the formula written out, bit
// for bit, and that against the exact product within what rounding to integers allows.
#include <cmath>
#include <limits>

#include "tests/engine/ops/ops_test_util.h"

namespace slimfill::engine {
namespace {

constexpr int64_t kGroup = 64;

std::vector<BackendCase> CpuCases() {
  std::vector<BackendCase> cases;
  for (const BackendCase& backend_case : BackendCases()) {
    if (backend_case.backend == "cpu") cases.push_back(backend_case);
  }
  return cases;
}

// Rows [rows, cols] as integers with a scale for each group.
struct Quantised {
  // `bf16_scales`: weights' are rounded to bf16, x's are not.
  Quantised(const std::vector<float>& values, int64_t rows, int64_t cols, bool bf16_scales)
      : cols(cols), groups((cols + kGroup - 1) / kGroup), integers(values.size()), scales(rows * groups) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t first = 0; first < cols; first += kGroup) {
        const int64_t end = std::min(first + kGroup, cols);
        float largest = 0;
        for (int64_t i = first; i < end; ++i) largest = std::max(largest, std::abs(values[row * cols + i]));
        if (largest == 0) continue;
        float scale = largest / 127, inverse = 127 / largest;
        if (bf16_scales) {
          scale = Bf16ToFloat(FloatToBf16(scale));
          inverse = 1 / scale;
        }
        scales[row * groups + first / kGroup] = scale;
        for (int64_t i = first; i < end; ++i) {
          const float scaled = std::nearbyint(values[row * cols + i] * inverse);
          integers[row * cols + i] = static_cast<int>(std::clamp(scaled, -127.0f, 127.0f));
        }
      }
    }
  }
  float scale(int64_t row, int64_t col) const { return scales[row * groups + col / kGroup]; }

  int64_t cols, groups;
  std::vector<int> integers;
  std::vector<float> scales;
};

float Product(const Quantised& x, int64_t row, const Quantised& weight, int64_t col) {
  float sum = 0;
  for (int64_t first = 0; first < x.cols; first += kGroup) {
    int integers = 0;
    for (int64_t i = first; i < std::min(first + kGroup, x.cols); ++i) {
      integers += x.integers[row * x.cols + i] * weight.integers[col * x.cols + i];
    }
    const float scale = weight.scale(col, first) * x.scale(row, first);
    const float product = static_cast<float>(integers) * scale;
    sum += product;
  }
  return sum;
}

class Int8Test : public testing::TestWithParam<BackendCase> {
 protected:
  std::unique_ptr<PackedWeight> Pack(const std::vector<float>& values, int64_t rows, int64_t cols) {
    return *backend_->PackWeight(TestWeight(rows, cols, values).matrix());
  }
  // x * weight^T for all rows together.
  std::vector<float> Multiply(const std::vector<float>& x, const PackedWeight& weight, int64_t rows) {
    TestMatrix in(*backend_, DType::kBF16, rows, weight.cols(), x), out(*backend_, DType::kF32, rows, weight.rows());
    backend_->Gemm(in.view(), weight, nullptr, GemmMode::kStore, out.view());
    return out.Read();
  }
  void CheckEqualsFormula(const std::vector<float>& x, const std::vector<float>& weight, int64_t rows, int64_t n,
                          int64_t k);

  std::unique_ptr<Backend> backend_ =
      *MakeBackend("cpu", {.threads = 2, .cpu_isa = GetParam().cpu_isa, .linear = "int8"});
};
INSTANTIATE_TEST_SUITE_P(Backends, Int8Test, testing::ValuesIn(CpuCases()), BackendCaseName);

void Int8Test::CheckEqualsFormula(const std::vector<float>& x, const std::vector<float>& weight, int64_t rows,
                                  int64_t n, int64_t k) {
  const Quantised qx(x, rows, k, false), qw(weight, n, k, true);
  const std::vector<float> got = Multiply(x, *Pack(weight, n, k), rows);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < n; ++col) {
      ASSERT_EQ(got[row * n + col], Product(qx, row, qw, col))
          << "row " << row << " of " << rows << ", column " << col << ", " << k << " -> " << n;
    }
  }
}

TEST_P(Int8Test, EqualsTheFormulaBitForBit) {
  Random random(20);
  for (const auto& [n, k] :
       std::vector<std::pair<int64_t, int64_t>>{{64, 64}, {1, 1}, {100, 34}, {70, 130}, {130, 896}, {65, 2055}}) {
    for (int64_t rows : {0, 1, 2, 3, 4, 5, 7, 97}) {
      CheckEqualsFormula(random.Values(rows * k), random.Values(n * k), rows, n, k);
    }
  }
}

TEST_P(Int8Test, LargestSumsDoNotSaturate) {
  for (float sign : {1.0f, -1.0f}) {
    CheckEqualsFormula(std::vector<float>(5 * 192, 1.0f), std::vector<float>(64 * 192, sign), 5, 64, 192);
  }
}

TEST_P(Int8Test, BiasAndAccumulationAreThoseOfF32) {
  constexpr int64_t kRows = 7, kN = 100, kK = 200;
  Random random(21);
  const std::vector<float> x = random.Values(kRows * kK), bias = random.Values(kN), start = random.Values(kRows * kN);
  const auto weight = Pack(random.Values(kN * kK), kN, kK);
  const std::vector<float> plain = Multiply(x, *weight, kRows);
  const auto uploaded = *backend_->Upload(bias);
  TestMatrix in(*backend_, DType::kBF16, kRows, kK, x), sum(*backend_, DType::kF32, kRows, kN, start),
      rounded(*backend_, DType::kBF16, kRows, kN);
  backend_->Gemm(in.view(), *weight, uploaded.get(), GemmMode::kAccumulate, sum.view());
  backend_->Gemm(in.view(), *weight, uploaded.get(), GemmMode::kStore, rounded.view());
  const std::vector<float> sums = sum.Read(), stored = rounded.Read();
  for (int64_t i = 0; i < kRows * kN; ++i) {
    const float biased = plain[i] + bias[i % kN];
    EXPECT_EQ(sums[i], start[i] + biased);
    EXPECT_EQ(stored[i], Bf16ToFloat(FloatToBf16(biased)));
  }
}

TEST_P(Int8Test, StaysWithinWhatRoundingAllows) {
  constexpr int64_t kRows = 6, kN = 90, kK = 300;
  Random random(22);
  std::vector<float> x = random.Values(kRows * kK);
  const std::vector<float> weight = random.Values(kN * kK);
  x[10] = 50;  // an outlier spoils its own group only
  const Quantised qx(x, kRows, kK, false), qw(weight, kN, kK, true);
  const std::vector<float> got = Multiply(x, *Pack(weight, kN, kK), kRows);
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t col = 0; col < kN; ++col) {
      double exact = 0, bound = 1e-5;
      for (int64_t i = 0; i < kK; ++i) {
        const double a = x[row * kK + i], b = weight[col * kK + i];
        const double a_error = 0.501 * qx.scale(row, i), b_error = 0.501 * qw.scale(col, i);
        exact += a * b;
        bound += std::abs(a) * b_error + std::abs(b) * a_error + a_error * b_error;
      }
      EXPECT_LE(std::abs(got[row * kN + col] - exact), bound) << "row " << row << ", column " << col;
    }
  }
}

TEST_P(Int8Test, SwiGluIsNearTheExactOneAndARowAloneHasTheSameBits) {
  Random random(23);
  const auto ref = *MakeBackend("ref", {});
  for (const auto& [hidden, ffn] :
       std::vector<std::pair<int64_t, int64_t>>{{72, 256}, {64, 100}, {130, 64}, {16, 30}}) {
    const TestWeight gate_up(2 * ffn, hidden, random.Values(2 * ffn * hidden)),
        down(hidden, ffn, random.Values(hidden * ffn));
    const auto packed_gate_up = *backend_->PackWeight(gate_up.matrix()),
               packed_down = *backend_->PackWeight(down.matrix());
    const auto ref_gate_up = *ref->PackWeight(gate_up.matrix()), ref_down = *ref->PackWeight(down.matrix());
    for (int64_t rows : {0, 1, 2, 65, 1100}) {
      const std::vector<float> x = random.Values(rows * hidden), start = random.Values(rows * hidden);
      TestMatrix in(*backend_, DType::kBF16, rows, hidden, x), out(*backend_, DType::kF32, rows, hidden, start);
      TestMatrix ref_in(*ref, DType::kF32, rows, hidden, x), ref_out(*ref, DType::kF32, rows, hidden, start);
      backend_->SwiGluFfn(in.view(), *packed_gate_up, *packed_down, out.view());
      ref->SwiGluFfn(ref_in.view(), *ref_gate_up, *ref_down, ref_out.view());
      EXPECT_LE(RowError(out.Read(), ref_out.Read(), hidden), 0.05) << rows << " rows, " << hidden << ", " << ffn;
      for (int64_t row : {int64_t{0}, rows / 2, rows - 1}) {
        if (rows == 0) break;
        TestMatrix alone(*backend_, DType::kF32, 1, hidden,
                         {start.begin() + row * hidden, start.begin() + (row + 1) * hidden});
        backend_->SwiGluFfn(in.view().Rows(row, 1), *packed_gate_up, *packed_down, alone.view());
        EXPECT_EQ(alone.RowBytes(0), out.RowBytes(row));
      }
    }
  }
}

TEST_P(Int8Test, NumbersThatAreNotFiniteStayInTheirRow) {
  constexpr int64_t kN = 64, kK = 128;
  Random random(24);
  const auto weight = Pack(random.Values(kN * kK), kN, kK);
  std::vector<float> x = random.Values(4 * kK);
  const std::vector<float> clean = Multiply(x, *weight, 4);
  x[kK + 70] = std::numeric_limits<float>::infinity();
  x[3 * kK + 5] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> got = Multiply(x, *weight, 4);
  for (int64_t col = 0; col < kN; ++col) {
    EXPECT_EQ(got[col], clean[col]);
    EXPECT_TRUE(std::isnan(got[kN + col]));
    EXPECT_EQ(got[2 * kN + col], clean[2 * kN + col]);
    EXPECT_TRUE(std::isnan(got[3 * kN + col]));
  }
}

TEST_P(Int8Test, GroupsOfZerosAndOfTinyNumbersAreZero) {
  constexpr int64_t kK = 128;
  const std::vector<float> zeros(kK, 0.0f), tiny(kK, 1e-38f), ones(kK, 1.0f);
  EXPECT_EQ(Multiply(zeros, *Pack(ones, 1, kK), 1), std::vector<float>{0});
  EXPECT_EQ(Multiply(ones, *Pack(zeros, 1, kK), 1), std::vector<float>{0});
  EXPECT_EQ(Multiply(tiny, *Pack(ones, 1, kK), 1), std::vector<float>{0});
  EXPECT_EQ(Multiply(ones, *Pack(tiny, 1, kK), 1), std::vector<float>{0});
}

TEST_P(Int8Test, WeightsTakeLittleMoreThanAByteEach) {
  const auto weight = Pack(std::vector<float>(128 * 896, 1.0f), 128, 896);
  EXPECT_EQ(weight->bytes(), 128 * (896 + 896 / kGroup * 2));
}

}  // namespace
}  // namespace slimfill::engine
