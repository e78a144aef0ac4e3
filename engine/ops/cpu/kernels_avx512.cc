#define SLIMFILL_VECTOR_BYTES 64
#include "engine/ops/cpu/kernels_generic.inc"

namespace slimfill::engine::cpu {

const Kernels& Avx512Kernels() { return kKernels; }

}  // namespace slimfill::engine::cpu
