// From observations to plans. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/calibrate/observation.h"
#include "engine/calibrate/simulate.h"
#include "engine/model/config.h"

namespace slimfill::calibrate {

// Budgets that are tried for a pruning.
struct BudgetGrid {
  std::vector<double> ratios;       // ascending; the most that is kept, at each length another
  std::vector<double> keep_scores;  // PlanStage::keep_score, with the smallest ratio as the least; 0: no more, no less
};

struct ChooseOptions {
  std::string name;
  // The least share of the evidence that the prunings together must keep, at every length, kind-balanced.
  double recall = 0.85;
  BudgetGrid first = {{0.125, 0.1875, 0.25, 0.3125, 0.375, 0.5}, {0, 0.2, 0.1}};
  BudgetGrid second = {{0.0625, 0.09375, 0.125, 0.15625, 0.1875, 0.25, 0.375}, {0, 0.1}};
  int max_first_heads = 2;
  int max_second_heads = 4;
  int max_link_heads = 2;
};

// What heads keep: those of a layer, or of it and the few before it.
struct LayerFinding {
  int layer = 0;
  std::vector<engine::LayerHead> heads;
  std::vector<engine::LayerHead> link_heads;  // of a first pruning: spread along the links they make, scores keep more
  std::vector<double> recall;                 // at each of the grid's ratios
};

struct Candidate {
  engine::PrunePlan plan;
  Merit merit;  // on the observations
};

struct Findings {
  // For each layer of the first pruning and each of the second, or none, the cheapest prefills (by the work model, on
  // the observed prompts) that hold the target, and those that hold half-way from it to all of the evidence; without
  // those that another one betters: no dearer, keeping no less, and pruning no earlier. Cheapest first, one at least.
  std::vector<Candidate> candidates;
  std::vector<LayerFinding> first_layers, second_layers;  // all that were looked at
};

// Plans with a first pruning by the heads of one layer, and perhaps a second, behind half of the depth, by heads of a
// later layer and the three before it; scores spread along links where that keeps more. Retry: the later layer, not
// after the second pruning, whose heads hold most at the next larger budget. FAILED_PRECONDITION when no layer holds
// the target: no head retrieves early enough.
absl::StatusOr<Findings> FindPlans(const std::vector<Observation>& observations, const engine::ModelConfig& config,
                                   const ChooseOptions& options);

// The most that a stage keeps of a prompt of any length, a share of its blocks.
double MostKept(const engine::PlanStage& stage);

// Safety thresholds from fresh observations with and without evidence. min_peak: such that at most `false_alarms` of
// the prunings that kept all evidence fall below it. max_entropy: half-way between the questions' and the controls'
// where they part, else above `1 - false_alarms` of the questions'.
void ChooseThresholds(const std::vector<Observation>& observations, const engine::ModelConfig& config,
                      double false_alarms, engine::PrunePlan& plan);

}  // namespace slimfill::calibrate
