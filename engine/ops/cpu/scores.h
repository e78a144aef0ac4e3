// Scores of key units for pruning, on the CPU.
#pragma once

#include "engine/ops/backend.h"
#include "engine/ops/cpu/context.h"

namespace slimfill::engine::cpu {

// See Backend::AttentionMass and Backend::UnitMeanKeys.
void AttentionMass(const Context& context, const MassQuery& query, const AttentionShape& shape, KvLayerView kv,
                   absl::Span<float> out);
void UnitMeanKeys(const Context& context, int32_t end_position, const AttentionShape& shape, KvLayerView kv,
                  absl::Span<float> out);

}  // namespace slimfill::engine::cpu
