// Tools of the conformance suite: every backend at every instruction-set level this machine has, matrices in a
// backend's memory with guard bytes around them, and attention scenes. Bytes go to and from a backend by its page
// copies, so that the suite serves devices too.
#pragma once

#include <cstring>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/ops/backend.h"
#include "engine/ops/backend_factory.h"
#include "engine/tensor/bf16.h"
#include "gtest/gtest.h"

namespace slimfill::engine {

struct BackendCase {
  std::string backend;
  std::string cpu_isa;
};
std::ostream& operator<<(std::ostream& out, const BackendCase& backend_case);
std::string BackendCaseName(const testing::TestParamInfo<BackendCase>& info);
// All that this machine can run.
std::vector<BackendCase> BackendCases();

// Values uniform in [-1, 1], exactly representable in bf16, so that every backend is given the same numbers.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  std::vector<float> Values(int64_t count, float amplitude = 1.0f);

 private:
  std::mt19937 engine_;
};

// A WeightMatrix over values in memory.
class TestWeight {
 public:
  TestWeight(int64_t rows, int64_t cols, std::vector<float> values);
  WeightMatrix matrix() const { return WeightMatrix({WeightMatrix::Part{&tensor_}}); }

 private:
  std::vector<float> values_;
  StoredTensor tensor_;
};

// A matrix in a backend's memory whose rows are apart by a few elements; all bytes outside the rows are guards.
class TestMatrix {
 public:
  TestMatrix(Backend& backend, DType dtype, int64_t rows, int64_t cols);
  TestMatrix(Backend& backend, DType dtype, int64_t rows, int64_t cols, const std::vector<float>& values)
      : TestMatrix(backend, dtype, rows, cols) {
    Write(values);
  }

  Matrix view() const { return view_; }
  void Write(const std::vector<float>& values);  // dense, [rows, cols]
  std::vector<float> Read() const;               // dense; checks the guards
  std::string RowBytes(int64_t row) const;

 private:
  std::vector<std::byte> Download() const;
  size_t Offset(int64_t row, int64_t col) const;

  Backend& backend_;
  std::unique_ptr<Buffer> buffer_;
  Matrix view_;
};

// A layer's keys and values on a backend.
class TestKv {
 public:
  // `blocks` increase; pages are zeroed.
  TestKv(Backend& backend, const AttentionShape& shape, const std::vector<int32_t>& blocks);
  KvLayerView view() const { return blocks_; }
  KvLayerView first(size_t blocks) const { return KvLayerView(blocks_).first(blocks); }
  // Writes keys and values [positions, kv_cols] at the positions, unrotated.
  void Append(const std::vector<int32_t>& positions, const std::vector<float>& keys, const std::vector<float>& values);

 private:
  Backend& backend_;
  AttentionShape shape_;
  std::vector<std::unique_ptr<Buffer>> pages_;
  std::vector<KvBlock> blocks_;
};

// Every position of the blocks up to and including `last`.
std::vector<int32_t> PositionsOf(const std::vector<int32_t>& blocks, int32_t last);

// The largest |got - want| / |want| (Euclidean norms) over rows of `cols`.
double RowError(const std::vector<float>& got, const std::vector<float>& want, int64_t cols);

// Bounds for RowError. A backend that rounds its result to bf16 is off by up to 2^-9, 0.11 % on average.
double Tolerance(const Backend& backend, double f32, double bf16);

class OpsTest : public testing::TestWithParam<BackendCase> {
 protected:
  OpsTest();
  void SetUp() override;  // skips where the machine cannot run the backend
  DType act() const { return backend_->activation_dtype(); }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Backend> ref_;

 private:
  absl::Status status_;
};

}  // namespace slimfill::engine
