// What calibration learns a plan from: every head's block scores of a prompt whose evidence is known.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/prune/plan.h"
#include "engine/study_engine.h"

namespace slimfill::calibrate {

struct Observation {
  std::string kind;
  int64_t target_tokens = 0;  // of the document: its length band
  int64_t prompt_tokens = 0;
  std::vector<int32_t> evidence;  // blocks, ascending; empty: nothing in particular is looked up
  engine::AllHeadScores heads;
};

// Scores of several heads together, as ScoreKind::kHeads makes them: one head as it is, more by their largest share of
// each one's own best outside the forced blocks.
std::vector<float> CombinedScores(const Observation& observation, const std::vector<engine::LayerHead>& heads);

// Share of the evidence among the blocks that these scores keep when a stage keeps `ratio` of the prompt.
double Recall(const Observation& observation, const engine::PrunePlan& plan, const std::vector<float>& scores,
              double ratio);

// Mean over kinds of the mean over their observations; kinds without evidence do not count.
double KindBalancedRecall(const std::vector<Observation>& observations, const engine::PrunePlan& plan,
                          const std::vector<engine::LayerHead>& heads, double ratio);

}  // namespace slimfill::calibrate
