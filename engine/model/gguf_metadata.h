// The metadata of a GGUF file: keys with typed values. Part of the parser.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "engine/model/gguf.h"
#include "engine/model/gguf_cursor.h"

namespace slimfill::engine::gguf_internal {

// Reads `count` keys and their values. REQUIRES: count <= limits.max_keys.
absl::StatusOr<std::map<std::string, GgufValue, std::less<>>> ReadMetadata(Cursor& cursor, uint64_t count,
                                                                           const GgufLimits& limits);

}  // namespace slimfill::engine::gguf_internal
