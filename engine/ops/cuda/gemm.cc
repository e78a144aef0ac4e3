#include "engine/ops/cuda/gemm.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/ops/cuda/device.h"

namespace slimfill::engine::cuda {
namespace {

constexpr int64_t kWorkspaceBytes = 32 << 20;
constexpr int64_t kReferenceRows = 256;  // that algorithms are chosen for

cudaDataType_t CudaType(DType dtype) { return dtype == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF; }

// The largest power of two up to 16 that divides every row's address.
int Alignment(const ConstMatrix& m) {
  const uint64_t bits =
      reinterpret_cast<uintptr_t>(m.data) | static_cast<uint64_t>(m.stride * DTypeBytes(m.dtype)) | 16;
  return static_cast<int>(bits & -bits);
}

// A row-major matrix as cuBLAS sees it: column-major, transposed.
class Layout {
 public:
  Layout(const ConstMatrix& m, int64_t rows) {
    cublasLtMatrixLayoutCreate(&layout_, CudaType(m.dtype), static_cast<uint64_t>(m.cols), static_cast<uint64_t>(rows),
                               m.stride);
  }
  ~Layout() { cublasLtMatrixLayoutDestroy(layout_); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  cublasLtMatrixLayout_t get() const { return layout_; }

 private:
  cublasLtMatrixLayout_t layout_ = nullptr;
};

}  // namespace

// weight (k x m, transposed) * x (k x n) = out (m x n), all column-major.
struct Gemm::Problem {
  Problem(const ConstMatrix& x_matrix, const ConstMatrix& weight_matrix, const Matrix& out_matrix, int64_t rows)
      : weight(weight_matrix, weight_matrix.rows), x(x_matrix, rows), out(out_matrix, rows) {
    const cublasOperation_t transpose = CUBLAS_OP_T;
    cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof(transpose));
  }
  ~Problem() { cublasLtMatmulDescDestroy(desc); }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;

  cublasLtMatmulDesc_t desc = nullptr;
  Layout weight, x, out;
};

absl::StatusOr<std::unique_ptr<Gemm>> Gemm::Create(Stream& compute, Health& health) {
  cublasLtHandle_t handle = nullptr;
  if (const cublasStatus_t status = cublasLtCreate(&handle); status != CUBLAS_STATUS_SUCCESS) {
    return absl::FailedPreconditionError(absl::StrCat("backend cuda cannot start: cuBLASLt does not (",
                                                      cublasLtGetStatusName(status),
                                                      "): install CUDA 13's libraries, or use --backend=cpu"));
  }
  auto workspace = AllocateOnDevice(kWorkspaceBytes, compute.get());
  if (!workspace.ok()) {
    cublasLtDestroy(handle);
    return workspace.status();
  }
  return std::unique_ptr<Gemm>(new Gemm(compute, health, handle, *std::move(workspace)));
}

Gemm::Gemm(Stream& compute, Health& health, cublasLtHandle_t handle, std::unique_ptr<Buffer> workspace)
    : compute_(compute), health_(health), handle_(handle), workspace_(std::move(workspace)) {}

Gemm::~Gemm() { cublasLtDestroy(handle_); }

void Gemm::Run(ConstMatrix x, ConstMatrix weight, bool accumulate, Matrix out) {
  if (x.rows == 0) return;
  const Problem problem(x, weight, out, x.rows);
  Key key{weight.rows, weight.cols, out.dtype, accumulate, Alignment(x), Alignment(weight), Alignment(out), 0};
  if (algorithms_.count(key) == 0 && !ChooseAlgorithm(key, Problem(x, weight, out, kReferenceRows))) return;
  cublasLtMatmulAlgo_t algorithm;
  if (!FindAlgorithm(key, problem, algorithm)) {
    std::get<7>(key) = x.rows;
    if (!FindAlgorithm(key, problem, algorithm)) {
      if (!ChooseAlgorithm(key, problem)) return;
      algorithm = algorithms_.at(key);
    }
    ++exceptions_;
  }
  const float one = 1.0f, zero = 0.0f;
  health_.Check(cublasLtMatmul(handle_, problem.desc, &one, weight.data, problem.weight.get(), x.data, problem.x.get(),
                               accumulate ? &one : &zero, out.data, problem.out.get(), out.data, problem.out.get(),
                               &algorithm, workspace_->data(), kWorkspaceBytes, compute_.get()),
                "a matrix product");
}

bool Gemm::FindAlgorithm(const Key& key, const Problem& problem, cublasLtMatmulAlgo_t& algorithm) {
  const auto found = algorithms_.find(key);
  if (found == algorithms_.end()) return false;
  algorithm = found->second;
  cublasLtMatmulHeuristicResult_t result{};
  const cublasStatus_t status = cublasLtMatmulAlgoCheck(handle_, problem.desc, problem.weight.get(), problem.x.get(),
                                                        problem.out.get(), problem.out.get(), &algorithm, &result);
  return status == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= static_cast<size_t>(kWorkspaceBytes);
}

bool Gemm::ChooseAlgorithm(const Key& key, const Problem& problem) {
  cublasLtMatmulPreference_t preference = nullptr;
  cublasLtMatmulPreferenceCreate(&preference);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kWorkspaceBytes));
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(std::get<5>(key)));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(std::get<4>(key)));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(std::get<6>(key)));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(std::get<6>(key)));
  cublasLtMatmulHeuristicResult_t result{};
  int returned = 0;
  cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, problem.desc, problem.weight.get(), problem.x.get(), problem.out.get(),
                                     problem.out.get(), preference, 1, &result, &returned);
  cublasLtMatmulPreferenceDestroy(preference);
  if (status == CUBLAS_STATUS_SUCCESS && returned == 0) status = CUBLAS_STATUS_NOT_SUPPORTED;
  if (!health_.Check(status, "choosing an algorithm for a matrix product")) return false;
  algorithms_[key] = result.algo;
  return true;
}

}  // namespace slimfill::engine::cuda
