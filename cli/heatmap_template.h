// The page in cli/heatmap/, its parts put together by the build.
#pragma once

#include "absl/strings/string_view.h"

namespace slimfill::cli {

// Stands in the template where the data goes.
inline constexpr absl::string_view kHeatMapDataMark = "{{DATA}}";

extern const absl::string_view kHeatMapTemplate;

}  // namespace slimfill::cli
