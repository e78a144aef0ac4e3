// The header of a GGUF file, parsed and validated. Part of GgufFile: use that.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/gguf.h"

namespace slimfill::engine {

struct GgufContents {
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<StoredTensor> tensors;  // in file order; their bytes point into the parsed span
};

// Nothing in `bytes` is trusted: every count, product, pad and sum is checked before it is used. Errors are
// INVALID_ARGUMENT and do not yet carry the file's name.
absl::StatusOr<GgufContents> ParseGguf(absl::Span<const std::byte> bytes, const GgufLimits& limits);

}  // namespace slimfill::engine
