#include "engine/ops/cpu/isa.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace slimfill::engine::cpu {
namespace {

struct Candidate {
  const char* name;
  bool supported;
  const Kernels& (*kernels)();
  const Int8Kernels& (*int8)();
};

// Whether the machine has AMX and this process may use its tiles. They have to be asked for: a thread's state is 8 KiB
// larger with them. Granted once, it holds for all threads that start afterwards and those that run already.
bool HaveAmx() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // the state component
  static const bool granted = __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
                              syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
#else
  return false;
#endif
}

std::vector<Candidate> Candidates() {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  const auto avx512_int8 = __builtin_cpu_supports("avx512vnni") ? Avx512VnniInt8Kernels : Avx2Int8Kernels;
  const bool avx512_bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  std::vector<Candidate> candidates = {{"amx", avx512_bf16 && HaveAmx(), AmxKernels, avx512_int8},
                                       {"avx512_bf16", avx512_bf16, Avx512Bf16Kernels, avx512_int8},
                                       {"avx512", avx512, Avx512Kernels, avx512_int8},
                                       {"avx2", avx2, Avx2Kernels, Avx2Int8Kernels},
                                       {"portable", true, PortableKernels, PortableInt8Kernels}};
  // Intel runs the bf16 dot product at half the rate of two f32 multiply-adds, which are as much work: bench_ops has
  // products of many rows 1.4 to 1.6 times as fast in f32 (docs/decisions/0009-amx.md).
  if (__builtin_cpu_is("intel")) std::swap(candidates[1], candidates[2]);
  return candidates;
}

}  // namespace

std::vector<IsaLevel> SupportedIsaLevels() {
  std::vector<IsaLevel> levels;
  for (const Candidate& candidate : Candidates()) {
    if (candidate.supported) levels.push_back({candidate.name, &candidate.kernels(), &candidate.int8()});
  }
  return levels;
}

absl::StatusOr<IsaLevel> ChooseIsaLevel(absl::string_view name) {
  const std::vector<IsaLevel> levels = SupportedIsaLevels();
  if (name.empty()) return levels.front();
  for (const IsaLevel& level : levels) {
    if (name == level.name) return level;
  }
  const std::string usable =
      absl::StrJoin(levels, ", ", [](std::string* out, const IsaLevel& level) { absl::StrAppend(out, level.name); });
  for (const Candidate& candidate : Candidates()) {
    if (name == candidate.name) {
      return absl::FailedPreconditionError(
          absl::StrCat("this machine has no ", name, " instructions: use one of ", usable, ", or none for the best"));
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown instruction-set level '", name, "': use one of ", usable));
}

}  // namespace slimfill::engine::cpu
