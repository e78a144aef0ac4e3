// One safetensors file: eight bytes with the length of a JSON header, the header, then the tensors' bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/stored_tensor.h"

namespace slimfill::engine {

// Limits on what a file may claim, checked before any allocation that depends on it.
struct SafetensorsLimits {
  uint64_t max_header_bytes = 16u << 20;  // a thousand tensors take a tenth of a megabyte
  size_t max_tensors = 65536;
  size_t max_name_bytes = 1024;
  size_t max_dimensions = 4;
};

// The file's tensors, fully checked, in the order of their bytes, which they cover without gap or overlap. They point
// into `bytes`. Shapes are turned round: shape[0] is the last dimension of the file. INVALID_ARGUMENT, beginning with
// `name`, with what is wrong and what to do.
absl::StatusOr<std::vector<StoredTensor>> ParseSafetensors(absl::Span<const std::byte> bytes, const std::string& name,
                                                           const SafetensorsLimits& limits = {});

}  // namespace slimfill::engine
