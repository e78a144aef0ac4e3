#include "tests/engine/ops/ops_test_util.h"

#include <algorithm>
#include <cmath>

namespace slimfill::engine {
namespace {

constexpr int64_t kGuardElements = 32;  // before the first row and after the last
constexpr int64_t kGapElements = 6;     // between rows
constexpr std::byte kGuard{0x5a};
constexpr int64_t kScratchBytes = 4 << 20;  // little: ops have to work in pieces

}  // namespace

std::ostream& operator<<(std::ostream& out, const BackendCase& backend_case) {
  return out << backend_case.backend << (backend_case.cpu_isa.empty() ? "" : "_") << backend_case.cpu_isa;
}

std::string BackendCaseName(const testing::TestParamInfo<BackendCase>& info) {
  return testing::PrintToString(info.param);
}

std::vector<BackendCase> BackendCases() {
#ifdef SLIMFILL_GPU_TEST  // the same suite for a GPU alone, skipped where there is none
  return {{"cuda", ""}};
#endif
  std::vector<BackendCase> cases;
  for (const std::string& name : AvailableBackends()) {
    if (name != "cpu") {
      cases.push_back({name, ""});
      continue;
    }
    for (const char* isa : {"portable", "avx2", "avx512", "avx512_bf16", "amx"}) {
      if (MakeBackend("cpu", {.threads = 1, .cpu_isa = isa}).ok()) cases.push_back({name, isa});
    }
  }
  return cases;
}

std::vector<float> Random::Values(int64_t count, float amplitude) {
  std::vector<float> values(count);
  for (float& value : values) {
    const float uniform = static_cast<float>(engine_()) / 2147483648.0f - 1.0f;
    value = Bf16ToFloat(FloatToBf16(uniform * amplitude));
  }
  return values;
}

TestWeight::TestWeight(int64_t rows, int64_t cols, std::vector<float> values) : values_(std::move(values)) {
  tensor_.name = "test";
  tensor_.type = GgmlType::kF32;
  tensor_.shape = {cols, rows};
  tensor_.bytes =
      absl::MakeConstSpan(reinterpret_cast<const std::byte*>(values_.data()), values_.size() * sizeof(float));
}

TestMatrix::TestMatrix(Backend& backend, DType dtype, int64_t rows, int64_t cols) : backend_(backend) {
  const int64_t stride = cols + kGapElements;
  const int64_t bytes = (rows * stride + 2 * kGuardElements) * DTypeBytes(dtype);
  buffer_ = *backend.Allocate(bytes);
  const std::vector<std::byte> guards(bytes, kGuard);
  backend.WritePage(guards, static_cast<std::byte*>(buffer_->data()));
  view_ = {static_cast<std::byte*>(buffer_->data()) + kGuardElements * DTypeBytes(dtype), dtype, rows, cols, stride};
}

size_t TestMatrix::Offset(int64_t row, int64_t col) const {
  return (kGuardElements + row * view_.stride + col) * DTypeBytes(view_.dtype);
}

std::vector<std::byte> TestMatrix::Download() const {
  std::vector<std::byte> bytes(buffer_->bytes());
  backend_.ReadPage(static_cast<const std::byte*>(buffer_->data()), absl::MakeSpan(bytes));
  return bytes;
}

void TestMatrix::Write(const std::vector<float>& values) {
  std::vector<std::byte> bytes = Download();
  for (int64_t i = 0; i < view_.rows * view_.cols; ++i) {
    std::byte* element = bytes.data() + Offset(i / view_.cols, i % view_.cols);
    if (view_.dtype == DType::kF32) {
      std::memcpy(element, &values[i], sizeof(float));
    } else {
      const uint16_t rounded = FloatToBf16(values[i]);
      std::memcpy(element, &rounded, sizeof(rounded));
    }
  }
  backend_.WritePage(bytes, static_cast<std::byte*>(buffer_->data()));
}

std::vector<float> TestMatrix::Read() const {
  std::vector<std::byte> bytes = Download();
  std::vector<float> values(view_.rows * view_.cols);
  for (int64_t i = 0; i < view_.rows * view_.cols; ++i) {
    std::byte* element = bytes.data() + Offset(i / view_.cols, i % view_.cols);
    if (view_.dtype == DType::kF32) {
      std::memcpy(&values[i], element, sizeof(float));
    } else {
      uint16_t bits;
      std::memcpy(&bits, element, sizeof(bits));
      values[i] = Bf16ToFloat(bits);
    }
    std::fill_n(element, DTypeBytes(view_.dtype), kGuard);
  }
  EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == kGuard; }))
      << "written outside the matrix";
  return values;
}

std::string TestMatrix::RowBytes(int64_t row) const {
  const std::vector<std::byte> bytes = Download();
  return std::string(reinterpret_cast<const char*>(bytes.data()) + Offset(row, 0),
                     view_.cols * DTypeBytes(view_.dtype));
}

TestKv::TestKv(Backend& backend, const AttentionShape& shape, const std::vector<int32_t>& blocks)
    : backend_(backend), shape_(shape) {
  for (int32_t block : blocks) {
    pages_.push_back(*backend.Allocate(backend.KvPageBytes(shape)));
    blocks_.push_back({static_cast<std::byte*>(pages_.back()->data()), block});
  }
}

void TestKv::Append(const std::vector<int32_t>& positions, const std::vector<float>& keys,
                    const std::vector<float>& values) {
  const int64_t rows = static_cast<int64_t>(positions.size());
  std::vector<float> qkv(rows * shape_.qkv_cols());
  for (int64_t i = 0; i < rows; ++i) {
    float* row = qkv.data() + i * shape_.qkv_cols() + shape_.q_cols();
    std::copy_n(keys.begin() + i * shape_.kv_cols(), shape_.kv_cols(), row);
    std::copy_n(values.begin() + i * shape_.kv_cols(), shape_.kv_cols(), row + shape_.kv_cols());
  }
  const int32_t context = positions.empty() ? 1 : positions.back() + 1;
  std::vector<float> cos_sin(int64_t{context} * shape_.head_dim);
  for (size_t i = 0; i < cos_sin.size(); ++i) cos_sin[i] = i % shape_.head_dim < shape_.head_dim / 2u ? 1.0f : 0.0f;
  const auto table = *backend_.Upload(cos_sin);
  TestMatrix matrix(backend_, backend_.activation_dtype(), rows, shape_.qkv_cols(), qkv);
  backend_.RopeAppendKv(matrix.view(), positions, *table, shape_, view());
}

std::vector<int32_t> PositionsOf(const std::vector<int32_t>& blocks, int32_t last) {
  std::vector<int32_t> positions;
  for (int32_t block : blocks) {
    for (int32_t p = block * kBlockTokens; p < (block + 1) * kBlockTokens && p <= last; ++p) positions.push_back(p);
  }
  return positions;
}

double RowError(const std::vector<float>& got, const std::vector<float>& want, int64_t cols) {
  EXPECT_EQ(got.size(), want.size());
  double worst = 0;
  for (size_t first = 0; first < want.size(); first += cols) {
    double difference = 0, norm = 0;
    for (int64_t j = 0; j < cols; ++j) {
      difference += std::pow(double{got[first + j]} - want[first + j], 2);
      norm += std::pow(double{want[first + j]}, 2);
    }
    const double error = norm == 0 ? difference : std::sqrt(difference / norm);
    worst = std::isnan(error) ? HUGE_VAL : std::max(worst, error);
  }
  return worst;
}

double Tolerance(const Backend& backend, double f32, double bf16) {
  return backend.activation_dtype() == DType::kBF16 ? bf16 : f32;
}

OpsTest::OpsTest() : ref_(*MakeBackend("ref", {})) {
  auto backend =
      MakeBackend(GetParam().backend, {.threads = 2, .cpu_isa = GetParam().cpu_isa, .scratch_bytes = kScratchBytes});
  status_ = backend.status();
  if (backend.ok()) backend_ = *std::move(backend);
}

void OpsTest::SetUp() {
  // Only backend cuda answers so, on a machine without a GPU; cpu and ref are there always, each of cpu's levels where
  // it is listed. The emulated device has no such excuse: there the same cases run.
  if (status_.code() == absl::StatusCode::kFailedPrecondition) GTEST_SKIP() << status_.message();
  ASSERT_TRUE(status_.ok()) << status_;
}

}  // namespace slimfill::engine
