// Matrix products against the reference.
#include "tests/engine/ops/ops_test_util.h"

namespace slimfill::engine {
namespace {

constexpr int64_t kRowCounts[] = {0, 1, 2, 5, 7, 63, 64, 65, 129, 500};

class GemmTest : public OpsTest {
 protected:
  // A weight packed by both backends, with a bias.
  struct Linear {
    Linear(GemmTest& test, Random& random, int64_t rows, int64_t cols)
        : weight(rows, cols, random.Values(rows * cols)),
          packed(*test.backend_->PackWeight(weight.matrix())),
          ref_packed(*test.ref_->PackWeight(weight.matrix())) {
      const std::vector<float> values = random.Values(rows);
      bias = *test.backend_->Upload(values);
      ref_bias = *test.ref_->Upload(values);
    }
    TestWeight weight;
    std::unique_ptr<PackedWeight> packed, ref_packed;
    std::unique_ptr<Buffer> bias, ref_bias;
  };

  void CheckAgainstReference(const Linear& linear, Random& random, int64_t rows, GemmMode mode, bool bias, DType dtype);
};
INSTANTIATE_TEST_SUITE_P(Backends, GemmTest, testing::ValuesIn(BackendCases()), BackendCaseName);

void GemmTest::CheckAgainstReference(const Linear& linear, Random& random, int64_t rows, GemmMode mode, bool bias,
                                     DType dtype) {
  const int64_t n = linear.packed->rows(), k = linear.packed->cols();
  const std::vector<float> x = random.Values(rows * k), start = random.Values(rows * n);
  TestMatrix in(*backend_, act(), rows, k, x), out(*backend_, dtype, rows, n, start);
  TestMatrix ref_in(*ref_, DType::kF32, rows, k, x), ref_out(*ref_, DType::kF32, rows, n, start);
  backend_->Gemm(in.view(), *linear.packed, bias ? linear.bias.get() : nullptr, mode, out.view());
  ref_->Gemm(ref_in.view(), *linear.ref_packed, bias ? linear.ref_bias.get() : nullptr, mode, ref_out.view());
  EXPECT_LE(RowError(out.Read(), ref_out.Read(), n), dtype == DType::kF32 ? 1e-5 : 4e-3)
      << rows << " rows, " << k << " -> " << n;

  for (int64_t row : {int64_t{0}, rows / 2, rows - 1}) {  // alone, the same bits
    if (rows == 0) break;
    TestMatrix alone(*backend_, dtype, 1, n, {start.begin() + row * n, start.begin() + (row + 1) * n});
    backend_->Gemm(in.view().Rows(row, 1), *linear.packed, bias ? linear.bias.get() : nullptr, mode, alone.view());
    EXPECT_EQ(alone.RowBytes(0), out.RowBytes(row)) << "row " << row << " of " << rows << ", " << k << " -> " << n;
  }
}

TEST_P(GemmTest, MatchesReferenceInEveryBatch) {
  Random random(10);
  for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{{64, 64}, {1, 2}, {100, 34}, {200, 896}}) {
    const Linear linear(*this, random, n, k);
    for (int64_t rows : kRowCounts) {
      CheckAgainstReference(linear, random, rows, GemmMode::kStore, true, act());
      CheckAgainstReference(linear, random, rows, GemmMode::kStore, false, DType::kF32);
      CheckAgainstReference(linear, random, rows, GemmMode::kAccumulate, rows % 2 == 0, DType::kF32);
    }
  }
}

TEST_P(GemmTest, SumsLongRowsInChunks) {
  Random random(11);
  const Linear linear(*this, random, 70, 4898);
  for (int64_t rows : {1, 7, 100})
    CheckAgainstReference(linear, random, rows, GemmMode::kAccumulate, true, DType::kF32);
}

TEST_P(GemmTest, ReadsQuantisedShapesOfSeveralParts) {
  Random random(12);
  const std::vector<float> upper = random.Values(30 * 64), lower = random.Values(50 * 64), x = random.Values(3 * 64);
  std::vector<float> both = upper;
  both.insert(both.end(), lower.begin(), lower.end());
  const TestWeight first(30, 64, upper), second(50, 64, lower), whole(80, 64, both);
  const WeightMatrix stacked({first.matrix().parts()[0], second.matrix().parts()[0]});
  TestMatrix in(*backend_, act(), 3, 64, x), out(*backend_, DType::kF32, 3, 80), want(*backend_, DType::kF32, 3, 80);
  backend_->Gemm(in.view(), **backend_->PackWeight(stacked), nullptr, GemmMode::kStore, out.view());
  backend_->Gemm(in.view(), **backend_->PackWeight(whole.matrix()), nullptr, GemmMode::kStore, want.view());
  EXPECT_EQ(out.Read(), want.Read());
}

class SwiGluTest : public OpsTest {};
INSTANTIATE_TEST_SUITE_P(Backends, SwiGluTest, testing::ValuesIn(BackendCases()), BackendCaseName);

TEST_P(SwiGluTest, MatchesReferenceInEveryBatch) {
  Random random(13);
  for (const auto& [hidden, ffn] :
       std::vector<std::pair<int64_t, int64_t>>{{72, 256}, {64, 100}, {130, 64}, {16, 30}}) {
    const TestWeight gate_up(2 * ffn, hidden, random.Values(2 * ffn * hidden));
    const TestWeight down(hidden, ffn, random.Values(hidden * ffn));
    const auto packed_gate_up = *backend_->PackWeight(gate_up.matrix()),
               packed_down = *backend_->PackWeight(down.matrix());
    const auto ref_gate_up = *ref_->PackWeight(gate_up.matrix()), ref_down = *ref_->PackWeight(down.matrix());
    for (int64_t rows : {0, 1, 2, 63, 65, 129, 1100}) {
      const std::vector<float> x = random.Values(rows * hidden), start = random.Values(rows * hidden);
      TestMatrix in(*backend_, act(), rows, hidden, x), out(*backend_, DType::kF32, rows, hidden, start);
      TestMatrix ref_in(*ref_, DType::kF32, rows, hidden, x), ref_out(*ref_, DType::kF32, rows, hidden, start);
      backend_->SwiGluFfn(in.view(), *packed_gate_up, *packed_down, out.view());
      ref_->SwiGluFfn(ref_in.view(), *ref_gate_up, *ref_down, ref_out.view());
      // cuda rounds gate and up to bf16 before they are multiplied, cpu only the product.
      const double bf16 = std::string(backend_->name()) == "cuda" ? 1e-2 : 7e-3;
      EXPECT_LE(RowError(out.Read(), ref_out.Read(), hidden), Tolerance(*backend_, 1e-6, bf16))
          << rows << " rows, " << hidden << ", " << ffn;
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

TEST_P(SwiGluTest, LargeGatesSaturate) {
  // Gates of +-300: silu is the gate itself or 0.
  const TestWeight gate_up(4, 2, {300, 0, -300, 0, 1, 0, 1, 0}), down(2, 2, {1, 0, 0, 1});
  TestMatrix in(*backend_, act(), 1, 2, {1, 0}), out(*backend_, DType::kF32, 1, 2, {0, 0});
  backend_->SwiGluFfn(in.view(), **backend_->PackWeight(gate_up.matrix()), **backend_->PackWeight(down.matrix()),
                      out.view());
  const std::vector<float> got = out.Read();
  EXPECT_NEAR(got[0], 300, 1);
  EXPECT_NEAR(got[1], 0, 1e-6);
}

}  // namespace
}  // namespace slimfill::engine
