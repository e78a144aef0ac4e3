// What a calibration found: for people, and for the plan file.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/calibrate/choose.h"
#include "engine/calibrate/trial.h"
#include "engine/model/config.h"
#include "nlohmann/json.hpp"

namespace slimfill::calibrate {

// Prints what heads keep at each ratio, as a table.
void PrintFindings(const char* title, const std::vector<LayerFinding>& findings, const std::vector<double>& ratios);

void PrintCandidates(const std::vector<Candidate>& candidates);

// What was looked at and tried, as JSON for a plan's "evidence".
nlohmann::ordered_json EvidenceJson(const ChooseOptions& options, const Findings& findings, const Candidate& chosen,
                                    const std::vector<Trial>& trials);

// UNAVAILABLE when the file cannot be written.
absl::Status WritePlan(const std::string& path, const engine::PrunePlan& plan, const engine::ModelConfig& model,
                       const nlohmann::ordered_json& evidence);

}  // namespace slimfill::calibrate
