// Suggestions for misspelt names.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace slimfill::server {

// The candidate closest to `name` by edit distance, or "" when none is close: at most two edits, fewer for short names.
std::string ClosestName(absl::string_view name, absl::Span<const std::string> candidates);

}  // namespace slimfill::server
