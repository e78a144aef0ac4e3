#include "engine/model/stored_tensor.h"

namespace slimfill::engine {
namespace {

struct TypeTraits {
  const char* name;
  int64_t block_elements;
  int64_t block_bytes;
};

// All zero for a type we do not read.
TypeTraits TraitsOf(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return {"F32", 1, 4};
    case GgmlType::kF16:
      return {"F16", 1, 2};
    case GgmlType::kBF16:
      return {"BF16", 1, 2};
    case GgmlType::kQ4_0:
      return {"Q4_0", 32, 18};
    case GgmlType::kQ4_1:
      return {"Q4_1", 32, 20};
    case GgmlType::kQ5_0:
      return {"Q5_0", 32, 22};
    case GgmlType::kQ5_1:
      return {"Q5_1", 32, 24};
    case GgmlType::kQ8_0:
      return {"Q8_0", 32, 34};
    case GgmlType::kQ4_K:
      return {"Q4_K", 256, 144};
    case GgmlType::kQ5_K:
      return {"Q5_K", 256, 176};
    case GgmlType::kQ6_K:
      return {"Q6_K", 256, 210};
  }
  return {"unknown", 0, 0};
}

}  // namespace

const char* GgmlTypeName(GgmlType type) { return TraitsOf(type).name; }
int64_t GgmlBlockElements(GgmlType type) { return TraitsOf(type).block_elements; }
int64_t GgmlBlockBytes(GgmlType type) { return TraitsOf(type).block_bytes; }

int64_t StoredTensor::rows() const {
  int64_t rows = 1;
  for (size_t i = 1; i < shape.size(); ++i) rows *= shape[i];
  return rows;
}

}  // namespace slimfill::engine
