// Sizes as people write them: "512MiB", "4GiB".
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace slimfill {

// A whole number with B, KiB, MiB, GiB, TiB or nothing (bytes) behind it. INVALID_ARGUMENT for anything else and for
// sizes past 2^63 - 1.
absl::StatusOr<uint64_t> ParseByteSize(absl::string_view text);

// The shortest exact form: 4294967296 is "4GiB", 1000 is "1000B".
std::string FormatByteSize(uint64_t bytes);

}  // namespace slimfill
