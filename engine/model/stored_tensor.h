// A tensor as a model file stores it: element types, shape, and its bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace slimfill::engine {

// Tensor element types, numbered as in GGUF files. safetensors has the first two and kBF16 of them.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};
const char* GgmlTypeName(GgmlType type);
int64_t GgmlBlockElements(GgmlType type);  // 1, 32 or 256
int64_t GgmlBlockBytes(GgmlType type);

struct StoredTensor {
  std::string name;
  GgmlType type;
  std::vector<int64_t> shape;         // shape[0] is the contiguous dimension (columns), shape[1] rows
  absl::Span<const std::byte> bytes;  // inside the file's mapping, length checked against shape and type
  int64_t cols() const { return shape[0]; }
  int64_t rows() const;  // product of the other dimensions
};

}  // namespace slimfill::engine
