// Dequantisation of GGUF tensor types to f32.
#pragma once

#include <cstddef>

#include "absl/types/span.h"
#include "engine/model/gguf.h"

namespace slimfill::engine {

// Dequantises one row (or any whole number of quantisation blocks). REQUIRES: src.size() is exactly the bytes of
// dst.size() elements of `type`. Bit-equal to the reference formula of the format, in f32.
void DequantizeRow(GgmlType type, absl::Span<const std::byte> src, absl::Span<float> dst);

}  // namespace slimfill::engine
