// What a plan would keep of observed prompts, and what that would cost. Pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/calibrate/observation.h"
#include "engine/model/config.h"
#include "engine/prune/plan.h"

namespace slimfill::calibrate {

struct Merit {
  // Share of the evidence kept by every pruning: mean over kinds, the least over lengths.
  double recall = 0;
  double cost = 1;  // FLOPs of the pruned prefill over dense, mean
};

// Judges plans by the same observations, which must outlive it. Remembers scores: not thread safe.
class Simulator {
 public:
  Simulator(const std::vector<Observation>& observations, const engine::ModelConfig& config);

  // Of the observed documents, ascending.
  const std::vector<int64_t>& lengths() const { return lengths_; }

  // REQUIRES: stages score by heads.
  Merit Judge(const engine::PrunePlan& plan);
  // By the prompts of one of lengths() alone.
  Merit JudgeLength(const engine::PrunePlan& plan, int64_t length);
  // Of one observation; without evidence, all of it is kept.
  Merit Run(size_t observation, const engine::PrunePlan& plan);

 private:
  using HeadKey = std::vector<std::pair<int, int>>;
  // Observation, the stage's heads, the links' heads, the candidates.
  using ScoresKey = std::tuple<size_t, HeadKey, HeadKey, std::vector<int32_t>>;

  const std::vector<float>& Scores(size_t observation, const engine::PrunePlan& plan, const engine::PlanStage& stage,
                                   const std::vector<int32_t>& candidates);

  const std::vector<Observation>& observations_;
  const engine::ModelConfig& config_;
  std::vector<int64_t> lengths_;
  std::map<ScoresKey, std::vector<float>> scores_;  // normalised
};

}  // namespace slimfill::calibrate
