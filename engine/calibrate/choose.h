// From observations to a plan. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/calibrate/observation.h"
#include "engine/model/config.h"

namespace slimfill::calibrate {

struct ChooseOptions {
  std::string name;
  double target_recall = 0.92;  // that the first pruning must hold, kind-balanced, on its length band
  std::vector<double> first_ratios = {0.1875, 0.25, 0.3125, 0.375, 0.5};
  double second_ratio = 0.1875;
  double third_ratio = 0.125;
  int max_first_heads = 2;
  int max_second_heads = 5;
};

// One row of evidence: a layer's best heads and what they hold.
struct LayerFinding {
  int layer = 0;
  std::vector<engine::LayerHead> heads;  // for a first pruning after this layer
  std::vector<double> recall;            // at ChooseOptions::first_ratios
};

struct Choice {
  engine::PrunePlan plan;
  std::vector<LayerFinding> first_layers;  // all layers, for the evidence
  double second_recall = 0;
};

// The first pruning: the layer and budget of the cheapest prefill (by the work model at the observations' mean length)
// among those that hold the target. The second: at about half depth, the set of heads (chosen one by one) with the best
// recall at its budget. The third: at 0.92 depth, by the second's scores. Retry: the first layer after the first
// pruning's whose best heads hold more, at the next larger budget.
// FAILED_PRECONDITION when no layer holds the target at any budget: no head retrieves early enough.
absl::StatusOr<Choice> ChoosePlan(const std::vector<Observation>& observations, const engine::ModelConfig& config,
                                  const ChooseOptions& options);

// Safety thresholds from fresh observations with and without evidence. min_peak: such that at most `false_alarms` of
// the prunings that kept all evidence fall below it. max_entropy: half-way between the questions' and the controls'
// where they part, else above `1 - false_alarms` of the questions'.
void ChooseThresholds(const std::vector<Observation>& observations, double false_alarms, engine::PrunePlan& plan);

}  // namespace slimfill::calibrate
