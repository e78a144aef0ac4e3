#define SLIMFILL_VECTOR_BYTES 16
#include "engine/ops/cpu/kernels_generic.inc"

namespace slimfill::engine::cpu {

const Kernels& PortableKernels() { return kKernels; }

}  // namespace slimfill::engine::cpu
