// Instruction-set levels of the CPU backend, and which of them this machine has.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/ops/cpu/int8_kernels.h"
#include "engine/ops/cpu/kernels.h"

namespace slimfill::engine::cpu {

struct IsaLevel {
  const char* name;  // as in BackendOptions::cpu_isa
  const Kernels* kernels;
  const Int8Kernels* int8;  // both AVX-512 levels use VNNI where the machine has it, else what AVX2 has
};

// The machine's levels, best first; never empty: portable is always there.
std::vector<IsaLevel> SupportedIsaLevels();

// `name` empty: the best. INVALID_ARGUMENT for a name that does not exist, FAILED_PRECONDITION for one this machine
// lacks.
absl::StatusOr<IsaLevel> ChooseIsaLevel(absl::string_view name);

}  // namespace slimfill::engine::cpu
