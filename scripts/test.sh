#!/usr/bin/env bash
# All tests: installs and builds what is missing, then the C++ tests, the end-to-end tests, the deployment tests, and the
# CUDA backend: run on its emulator, and compiled by nvcc.
# Usage: scripts/test.sh [release|asan|tsan|cuda|cuda-emulated|cuda-emulated-asan|cuda-emulated-tsan]
# asan and tsan run the C++ tests only; cuda-emulated... run what concerns CUDA on the emulator; cuda compiles with nvcc,
# checks the kernels' resources, and runs on the GPU where there is one.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=scripts/lib.sh
source scripts/lib.sh
preset=${1:-release}

# Kernels, backend, engine and server on the emulated device; under a sanitizer kernels and backend, with asan the engine.
EMULATED_TESTS=(cusim_test ops_test cuda_backend_test)
EMULATED_ENGINE_TESTS=(engine_cuda_test engine_cuda_model_test tiny_models_test real_models_test server_cuda_program_test)
run_cuda_emulated() { # PRESET
  local preset=$1 tests=("${EMULATED_TESTS[@]}") status=0 test
  case "$preset" in
    cuda-emulated) tests+=("${EMULATED_ENGINE_TESTS[@]}") ;;
    *-asan) tests+=(engine_cuda_test) ;;
  esac
  build "$preset" "${tests[@]/#/tests/}"
  step "CUDA backend on the emulated device ($preset)"
  case "$preset" in
    cuda-emulated)
      ctest --preset "$preset" -L cuda -j "$(nproc)" || status=1
      ctest --preset "$preset" -R '/cuda$|TinyModelsTest.(Cuda|Pruned)|SmolLM2_cuda' -j "$(nproc)" || status=1
      return $status ;;
    *-tsan) test=$TSAN_OPS ;;
    *) test='*cuda*' ;;
  esac
  "build/$preset/tests/cusim_test" --gtest_brief=1 || status=1
  "build/$preset/tests/cuda_backend_test" --gtest_brief=1 || status=1
  "build/$preset/tests/ops_test" --gtest_brief=1 --gtest_filter="$test" || status=1
  case "$preset" in *-asan) "build/$preset/tests/engine_cuda_test" --gtest_brief=1 || status=1 ;; esac
  return $status
}
# A fiber costs ThreadSanitizer 0.4 ms: the tests that cover every kernel with the fewest blocks.
TSAN_OPS='*MassSeesOnlyWhatItMay*cuda:*DecodeTest*cuda:*RowsBeforeAllKeys*cuda:*KeysAfter*cuda:*Decode*cuda:*ReadsWhatWas*cuda:*InPlace*cuda:*HeadNormFollows*cuda:*RmsNormOfZeros*cuda:*MeanMass*cuda:*LooksBack*cuda:*ChoosesTheFirst*cuda:*TopRowsWithout*cuda'

run_cuda() {
  bash scripts/setup_cuda.sh
  build cuda tests/ops_gpu_test tests/server_no_gpu_program_test slimfill_ops_cuda
  step "CUDA kernels' resources"
  /usr/bin/python3 scripts/check_kernel_resources.py build/cuda
  step "CUDA backend on the GPU"
  build/cuda/tests/server_no_gpu_program_test --gtest_brief=1
  build/cuda/tests/ops_gpu_test --gtest_brief=1 | grep -v '^\[  SKIPPED \] Backends'
}

case "$preset" in
  release|asan|tsan|cuda|cuda-emulated|cuda-emulated-asan|cuda-emulated-tsan) ;;
  -h|--help) sed -n '2,6s/^# //p' "$0"; exit 0 ;;
  *) die "unknown preset '$preset': use release, asan, tsan, cuda, cuda-emulated, cuda-emulated-asan or cuda-emulated-tsan" ;;
esac

bash scripts/setup.sh
/usr/bin/python3 scripts/check_layers.py
case "$preset" in
  cuda-emulated*) run_cuda_emulated "$preset"; exit ;;
  cuda) run_cuda; exit ;;
esac
build "$preset"
# The store's random schedules take too long under ThreadSanitizer.
if [ "$preset" = tsan ]; then export SLIMFILL_MODEL_SCHEDULES=${SLIMFILL_MODEL_SCHEDULES:-500}; fi
step "C++ tests ($preset)"
ctest --preset "$preset" --output-on-failure -j "$(nproc)"
if [ "$preset" = release ]; then
  step "end-to-end and deployment tests"
  SLIMFILL_BIN_DIR="$root/build/release/bin" "$SLIMFILL_VENV/bin/pytest" -q -p no:cacheprovider tests/integration tests/deploy tests/scripts
  run_cuda_emulated cuda-emulated
  run_cuda
fi
