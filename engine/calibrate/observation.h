// What calibration learns a plan from: what every head does with a prompt whose evidence is known.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/prune/head_scores.h"
#include "engine/prune/plan.h"
#include "engine/study_engine.h"

namespace slimfill::calibrate {

struct Observation {
  std::string kind;
  int64_t target_tokens = 0;  // of the document: its length band
  int64_t prompt_tokens = 0;
  std::vector<int32_t> evidence;  // blocks, ascending; empty: nothing in particular is looked up
  engine::HeadStudy study;
};

std::vector<int32_t> AllBlocks(const Observation& observation);

// What the plan's links join in this prompt.
std::vector<engine::UnitLink> Links(const Observation& observation, const engine::PrunePlan& plan);

// How a pruning by `heads` scores `candidates`, with `links`. Masses were observed with nothing pruned: behind a first
// pruning the real ones differ a little.
engine::HeadScores ScoreCandidates(const Observation& observation, const engine::PrunePlan& plan,
                                   const std::vector<engine::LayerHead>& heads, absl::Span<const int32_t> candidates,
                                   absl::Span<const engine::UnitLink> links);

// A mean over kinds of the mean over each one's values.
class KindBalancedMean {
 public:
  void Add(const std::string& kind, double value);
  bool empty() const { return kinds_.empty(); }
  double value() const;  // 0 of nothing

 private:
  struct Sum {
    double sum = 0;
    int count = 0;
  };
  std::map<std::string, Sum> kinds_;
};

// Share of the evidence among the blocks that these scores of all blocks keep when a stage keeps `ratio` of the prompt.
double Recall(const Observation& observation, const engine::PrunePlan& plan, absl::Span<const float> scores,
              double ratio);

// For each of `ratios` what a first pruning by `heads`, with the plan's links, keeps of the evidence, as a
// KindBalancedMean; observations without evidence do not count.
std::vector<double> KindBalancedRecall(const std::vector<Observation>& observations, const engine::PrunePlan& plan,
                                       const std::vector<engine::LayerHead>& heads, const std::vector<double>& ratios);

}  // namespace slimfill::calibrate
