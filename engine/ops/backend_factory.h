// The only place that chooses a backend.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/ops/backend.h"

namespace slimfill::engine {

struct BackendOptions {
  int threads = 0;              // 0: all cores this process may use
  std::string cpu_isa;          // "": the best this machine has; or force portable, avx2, avx512, avx512_bf16, amx
  std::string linear = "bf16";  // bf16 or int8; for cpu only
  int64_t scratch_bytes = 0;    // device memory for an op's intermediate results, for cuda only; 0: its own choice
};

// `name`: cpu, ref or cuda. INVALID_ARGUMENT for others, UNIMPLEMENTED when not built in, FAILED_PRECONDITION when the
// machine cannot run it; each says what to use instead.
absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(absl::string_view name, const BackendOptions& options);

// Names that MakeBackend accepts in this build on this machine.
std::vector<std::string> AvailableBackends();

}  // namespace slimfill::engine
