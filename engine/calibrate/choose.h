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
  // Share of the evidence that a pruning must keep, kind-balanced.
  double first_recall = 0.95;
  double second_recall = 0.98;
  std::vector<double> first_ratios = {0.125, 0.1875, 0.25, 0.3125, 0.375, 0.5};
  std::vector<double> second_ratios = {0.0625, 0.09375, 0.125, 0.1875, 0.25};
  double third_ratio = 0.0625;
  int max_first_heads = 2;
  int max_second_heads = 4;
};

// What the heads of a layer, or of it and the few before it, keep: a row of evidence.
struct LayerFinding {
  int layer = 0;
  std::vector<engine::LayerHead> heads;
  std::vector<double> recall;  // at each of the options' ratios
};

struct Choice {
  engine::PrunePlan plan;
  std::vector<LayerFinding> first_layers, second_layers;  // all that were looked at
};

// The cheapest prefill (by the work model at the observations' mean length) of those whose first pruning, by the heads
// of one layer, and second pruning, by heads of a later layer and the three before it, hold their targets. The third:
// at 0.92 depth, by the second's scores. Retry: the later layer, not after the second pruning, whose heads hold most at
// the next larger budget. FAILED_PRECONDITION when no layer holds the first target: no head retrieves early enough.
absl::StatusOr<Choice> ChoosePlan(const std::vector<Observation>& observations, const engine::ModelConfig& config,
                                  const ChooseOptions& options);

// Safety thresholds from fresh observations with and without evidence. min_peak: such that at most `false_alarms` of
// the prunings that kept all evidence fall below it. max_entropy: half-way between the questions' and the controls'
// where they part, else above `1 - false_alarms` of the questions'.
void ChooseThresholds(const std::vector<Observation>& observations, double false_alarms, engine::PrunePlan& plan);

}  // namespace slimfill::calibrate
