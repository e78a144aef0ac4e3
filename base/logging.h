// Logging: spdlog to stderr, one line per event, key=value fields. Programs call InitLogging once.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "spdlog/spdlog.h"

namespace slimfill {

// `level`: trace, debug, info, warning, error or off. INVALID_ARGUMENT for anything else.
absl::Status InitLogging(absl::string_view program, absl::string_view level);

}  // namespace slimfill
