#include "engine/ops/backend_factory.h"

#include <sched.h>

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/ops/cpu/cpu_backend.h"
#include "engine/ops/cpu/isa.h"
#include "engine/ops/ref/ref_backend.h"
#ifdef SLIMFILL_HAVE_CUDA
#include "engine/ops/cuda/cuda_backend.h"
#endif

namespace slimfill::engine {
namespace {

constexpr int kMaxThreads = 1024;

int UsableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

absl::StatusOr<LinearType> ParseLinearType(absl::string_view name) {
  if (name == "bf16") return LinearType::kBf16;
  if (name == "int8") return LinearType::kInt8;
  return absl::InvalidArgumentError(absl::StrCat("unknown type of linear layers '", name, "': use bf16 or int8"));
}

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(LinearType linear, const BackendOptions& options) {
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return absl::InvalidArgumentError(absl::StrCat("threads is ", options.threads, ", the limit is ", kMaxThreads,
                                                   ": use 0 for all cores, or a number up to the limit"));
  }
  SLIMFILL_ASSIGN_OR_RETURN(const cpu::IsaLevel isa, cpu::ChooseIsaLevel(options.cpu_isa));
  return std::make_unique<CpuBackend>(isa, linear, options.threads == 0 ? UsableCores() : options.threads);
}

#ifdef SLIMFILL_HAVE_CUDA
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const BackendOptions& options) {
  cuda::CudaOptions cuda_options;
  if (options.scratch_bytes > 0) cuda_options.scratch_bytes = options.scratch_bytes;
  return cuda::CudaBackend::Create(cuda_options);
}
bool CudaIsAvailable() { return cuda::OpenDevice().ok(); }
#else
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const BackendOptions&) {
  return absl::UnimplementedError("backend cuda is not built in: use cpu or ref");
}
bool CudaIsAvailable() { return false; }
#endif

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(absl::string_view name, const BackendOptions& options) {
  SLIMFILL_ASSIGN_OR_RETURN(const LinearType linear, ParseLinearType(options.linear));
  if (name == "cpu") return MakeCpuBackend(linear, options);
  if (linear != LinearType::kBf16 && (name == "ref" || name == "cuda")) {
    return absl::InvalidArgumentError(absl::StrCat("backend ", name, " has no linear layers of type ", options.linear,
                                                   ": leave the type out, or use backend cpu"));
  }
  if (name == "ref") return std::make_unique<RefBackend>();
  if (name == "cuda") return MakeCudaBackend(options);
  return absl::InvalidArgumentError(absl::StrCat("unknown backend '", name, "': use cpu, ref or cuda"));
}

std::vector<std::string> AvailableBackends() {
  std::vector<std::string> names = {"cpu", "ref"};
  if (CudaIsAvailable()) names.push_back("cuda");
  return names;
}

}  // namespace slimfill::engine
