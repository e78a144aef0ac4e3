// Matrix products by cuBLASLt, sums in f32. One algorithm is chosen for a weight's shape, without splitting the sum
// over thread blocks, and used for any number of rows: a row's sum is then made in the same order alone and in a batch.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include "absl/status/statusor.h"
#include "engine/ops/cuda/health.h"
#include "engine/ops/cuda/stream.h"
#include "engine/tensor/matrix.h"

namespace slimfill::engine::cuda {

class Gemm {
 public:
  // `compute` and `health` outlive the object.
  static absl::StatusOr<std::unique_ptr<Gemm>> Create(Stream& compute, Health& health);
  ~Gemm();

  // out (+)= x * weight^T. x bf16 [n, k], weight bf16 [m, k], out bf16 or f32 [n, m]; accumulating needs f32.
  void Run(ConstMatrix x, ConstMatrix weight, bool accumulate, Matrix out);

  // Products whose shape the shared algorithm did not take: their rows may differ in the last bit from batch to batch.
  int64_t exceptions() const { return exceptions_; }

 private:
  // What an algorithm depends on: m, k, out's type, accumulation, alignment of x, weight and out; and the rows, where
  // the shared algorithm does not fit, else 0.
  using Key = std::tuple<int64_t, int64_t, DType, bool, int, int, int, int64_t>;
  struct Problem;

  Gemm(Stream& compute, Health& health, cublasLtHandle_t handle, std::unique_ptr<Buffer> workspace);
  bool FindAlgorithm(const Key& key, const Problem& problem, cublasLtMatmulAlgo_t& algorithm);
  bool ChooseAlgorithm(const Key& key, const Problem& problem);

  Stream& compute_;
  Health& health_;
  const cublasLtHandle_t handle_;
  const std::unique_ptr<Buffer> workspace_;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms_;
  int64_t exceptions_ = 0;
};

}  // namespace slimfill::engine::cuda
