// From observations to a plan. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/calibrate/observation.h"
#include "engine/calibrate/simulate.h"
#include "engine/model/config.h"

namespace slimfill::calibrate {

// See PlanStage: `least` is its keep_ratio, `most` its max_ratio.
struct ScoreBudget {
  double least, keep_score, most;
};

struct ChooseOptions {
  std::string name;
  // Share of the evidence that the prunings together must keep, at every length, kind-balanced.
  double recall = 0.93;
  // Budgets that are tried.
  std::vector<double> first_ratios = {0.125, 0.1875, 0.25, 0.3125, 0.375, 0.5};
  std::vector<double> second_ratios = {0.0625, 0.09375, 0.125, 0.1875, 0.25};
  std::vector<ScoreBudget> first_by_score = {{0.125, 0.3, 0.25},  {0.125, 0.3, 0.375}, {0.125, 0.2, 0.25},
                                             {0.125, 0.2, 0.375}, {0.125, 0.2, 0.5},   {0.125, 0.15, 0.375},
                                             {0.125, 0.15, 0.5},  {0.125, 0.1, 0.375}, {0.125, 0.1, 0.5}};
  std::vector<ScoreBudget> second_by_score = {{0.0625, 0.2, 0.1875}, {0.0625, 0.2, 0.25},  {0.0625, 0.1, 0.1875},
                                              {0.0625, 0.1, 0.25},   {0.0625, 0.05, 0.25}, {0.0625, 0.05, 0.375}};
  double third_ratio = 0;  // of a last pruning at 0.92 depth, by the scores before; 0: none
  int max_first_heads = 2;
  int max_second_heads = 4;
};

// What the heads of a layer, or of it and the few before it, keep: a row of evidence.
struct LayerFinding {
  int layer = 0;
  std::vector<engine::LayerHead> heads;
  std::vector<double> recall;  // at each of the options' ratios
  double widest_recall = 0;    // at the widest budget of all, by score or not
};

struct Choice {
  engine::PrunePlan plan;
  Merit merit;                                            // of the plan on the observations
  std::vector<LayerFinding> first_layers, second_layers;  // all that were looked at
};

// The cheapest prefill (by the work model, on the observed prompts) of those that hold the target: a first pruning by
// the heads of one layer, and perhaps a second by heads of a later layer and the three before it. Retry: the later
// layer, not after the second pruning, whose heads hold most at the next larger budget. FAILED_PRECONDITION when no
// layer holds the target: no head retrieves early enough.
absl::StatusOr<Choice> ChoosePlan(const std::vector<Observation>& observations, const engine::ModelConfig& config,
                                  const ChooseOptions& options);

// Safety thresholds from fresh observations with and without evidence. min_peak: such that at most `false_alarms` of
// the prunings that kept all evidence fall below it. max_entropy: half-way between the questions' and the controls'
// where they part, else above `1 - false_alarms` of the questions'.
void ChooseThresholds(const std::vector<Observation>& observations, const engine::ModelConfig& config,
                      double false_alarms, engine::PrunePlan& plan);

}  // namespace slimfill::calibrate
