// Scores of key units for pruning, on the CPU.
#pragma once

#include "engine/ops/backend.h"
#include "engine/ops/cpu/context.h"

namespace slimfill::engine::cpu {

// See Backend::AttentionMass, Backend::LookBack and Backend::UnitMeanKeys.
void AttentionMass(const Context& context, const MassQuery& query, const AttentionShape& shape, KvLayerView kv,
                   absl::Span<float> out);
void LookBack(const Context& context, ConstMatrix q, absl::Span<const int32_t> positions, absl::Span<const int> heads,
              const AttentionShape& shape, KvLayerView kv, absl::Span<FarLook> out);
void UnitMeanKeys(const Context& context, int32_t end_position, const AttentionShape& shape, KvLayerView kv,
                  absl::Span<float> out);

}  // namespace slimfill::engine::cpu
