// What became of a request, for people and for programs.
#pragma once

#include <optional>
#include <string>

#include "nlohmann/json.hpp"
#include "slimfill/v1/inference.pb.h"

namespace slimfill::cli {

// Dense-equivalent over actual time to first token; absent while the server cannot tell.
std::optional<double> Speedup(const v1::Finished& finished);

// Some lines: times, speed, kept tokens per stage, speedup and what it rests on.
std::string SummaryText(const v1::Finished& finished);

nlohmann::json SummaryJson(const std::string& text, const v1::Finished& finished);

}  // namespace slimfill::cli
