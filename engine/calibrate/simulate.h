// What a plan would keep of observed prompts, and what that would cost. Pure functions.
//
// Scores were observed with nothing pruned: after a first pruning the real ones differ a little.
#pragma once

#include <map>
#include <vector>

#include "engine/calibrate/observation.h"
#include "engine/model/config.h"
#include "engine/prune/plan.h"

namespace slimfill::calibrate {

struct Merit {
  // Share of the evidence kept by every pruning that has scores of its own: mean over kinds, the least over lengths.
  double recall = 0;
  double cost = 1;  // FLOPs of the pruned prefill over dense, mean
};

// Judges plans by the same observations, which must outlive it. Remembers what heads score: not thread safe.
class Simulator {
 public:
  Simulator(const std::vector<Observation>& observations, const engine::ModelConfig& config)
      : observations_(observations), config_(config) {}

  // REQUIRES: stages score by heads or by what came before.
  Merit Judge(const engine::PrunePlan& plan);
  // Of one observation; without evidence, all of it is kept.
  Merit Run(size_t observation, const engine::PrunePlan& plan);

 private:
  const std::vector<float>& Scores(size_t observation, const std::vector<engine::LayerHead>& heads);

  const std::vector<Observation>& observations_;
  const engine::ModelConfig& config_;
  std::map<std::vector<std::pair<int, int>>, std::vector<std::vector<float>>> scores_;  // by heads, observation
};

}  // namespace slimfill::calibrate
