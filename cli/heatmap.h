// The heat map of a pruned prompt: one HTML page, whole in itself, that shows which text each pruning left to the
// model.
#pragma once

#include <string>

#include "nlohmann/json.hpp"
#include "slimfill/v1/inference.pb.h"

namespace slimfill::cli {

// What the page tells of. `tokens` with include_bytes, `finished` with include_prune_trace.
struct HeatMap {
  std::string question, answer;
  std::string pruning;  // the request's --pruning
  v1::GetModelResponse model;
  v1::TokenizeResponse tokens;
  v1::Finished finished;
};

// The page's data: facts, prunings, and for each block its text, how many prunings it outlived and what pinned it.
nlohmann::json HeatMapData(const HeatMap& map);

// The page. Whatever the prompt's text holds, it stays text.
std::string HeatMapPage(const nlohmann::json& data);

}  // namespace slimfill::cli
