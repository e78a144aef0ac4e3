// Matrix products of the CPU backend: our own bf16 kernels over panels. One layout and one order of summation serve
// prefill and decode, so a row's result has the same bits in either.
#pragma once

#include "engine/ops/backend.h"
#include "engine/ops/cpu/context.h"
#include "engine/ops/cpu/packed_weight.h"

namespace slimfill::engine::cpu {

// See Backend::Gemm and Backend::SwiGluFfn.
void Gemm(const Context& context, ConstMatrix x, const CpuWeight& weight, const float* bias, GemmMode mode, Matrix out);
void SwiGluFfn(const Context& context, ConstMatrix x, const CpuWeight& gate_up, const CpuWeight& down, Matrix residual);

}  // namespace slimfill::engine::cpu
