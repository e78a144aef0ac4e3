// Matrix products of the CPU backend on 8-bit integers: weights are quantised when they are packed, rows of x when they
// are multiplied. As with bf16, one layout and one order of summation serve prefill and decode.
#pragma once

#include "engine/ops/backend.h"
#include "engine/ops/cpu/context.h"
#include "engine/ops/cpu/packed_weight_int8.h"

namespace slimfill::engine::cpu {

// See Backend::Gemm and Backend::SwiGluFfn.
void Int8Gemm(const Context& context, ConstMatrix x, const Int8Weight& weight, const float* bias, GemmMode mode,
              Matrix out);
void Int8SwiGluFfn(const Context& context, ConstMatrix x, const Int8Weight& gate_up, const Int8Weight& down,
                   Matrix residual);

}  // namespace slimfill::engine::cpu
