#define SLIMFILL_VECTOR_BYTES 32
#include "engine/ops/cpu/kernels_generic.inc"

namespace slimfill::engine::cpu {

const Kernels& Avx2Kernels() { return kKernels; }

}  // namespace slimfill::engine::cpu
