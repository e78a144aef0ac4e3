// Certificates and keys that flags name.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace slimfill {

// The text of a PEM file. INVALID_ARGUMENT names the flag, the file and what is wrong.
absl::StatusOr<std::string> ReadPemFile(absl::string_view flag, const std::string& path);

}  // namespace slimfill
