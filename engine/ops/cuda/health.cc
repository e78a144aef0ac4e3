#include "engine/ops/cuda/health.h"

#include "absl/strings/str_cat.h"

namespace slimfill::engine::cuda {

bool Health::Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return true;
  Fail(absl::InternalError(absl::StrCat("the GPU failed: ", what, ": ", cudaGetErrorName(error), " (",
                                        cudaGetErrorString(error), "): the server has to start again")));
  return false;
}

bool Health::Check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return true;
  Fail(absl::InternalError(
      absl::StrCat("the GPU failed: ", what, ": ", cublasLtGetStatusName(status), ": the server has to start again")));
  return false;
}

void Health::Fail(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  if (status_.ok()) status_ = std::move(status);
}

absl::Status Health::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

}  // namespace slimfill::engine::cuda
