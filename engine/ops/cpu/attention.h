// Flash attention of the CPU backend over paged keys and values.
#pragma once

#include "engine/ops/backend.h"
#include "engine/ops/cpu/context.h"

namespace slimfill::engine::cpu {

// See Backend::Attention and Backend::AttentionDecode.
void Attention(const Context& context, ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
               KvLayerView kv, Matrix out);
void AttentionDecode(const Context& context, ConstMatrix q, absl::Span<const int32_t> positions,
                     const AttentionShape& shape, absl::Span<const KvLayerView> kv, Matrix out);

}  // namespace slimfill::engine::cpu
