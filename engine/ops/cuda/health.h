// Whether the device still works. A CUDA error is sticky: after the first one nothing that the device computes counts,
// so ops go on as if nothing had happened and whoever takes results asks here.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace slimfill::engine::cuda {

class Health {
 public:
  // True when all is well; otherwise the first failure is kept. `what` is what was tried, for people.
  bool Check(cudaError_t error, const char* what);
  bool Check(cublasStatus_t status, const char* what);
  void Fail(absl::Status status);
  // The first failure, INTERNAL, or OK.
  absl::Status status() const;

 private:
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slimfill::engine::cuda
