#include "engine/calibrate/observation.h"

#include <algorithm>
#include <numeric>

#include "engine/prune/policy.h"

namespace slimfill::calibrate {

std::vector<int32_t> AllBlocks(const Observation& observation) {
  std::vector<int32_t> blocks(observation.study.blocks);
  std::iota(blocks.begin(), blocks.end(), 0);
  return blocks;
}

std::vector<engine::UnitLink> Links(const Observation& observation, const engine::PrunePlan& plan) {
  std::vector<engine::UnitLink> links;
  for (const engine::LayerHead& head : plan.links.heads) observation.study.AppendLinks(head, links);
  return links;
}

engine::HeadScores ScoreCandidates(const Observation& observation, const engine::PrunePlan& plan,
                                   const std::vector<engine::LayerHead>& heads, absl::Span<const int32_t> candidates,
                                   absl::Span<const engine::UnitLink> links) {
  const std::vector<int32_t> all = AllBlocks(observation);
  std::vector<std::vector<float>> units;
  std::vector<engine::HeadMass> masses;
  units.reserve(heads.size());  // masses point into it
  for (const engine::LayerHead& head : heads) {
    units.push_back(engine::CarryUnitScores(all, observation.study.Units(head), candidates));
    masses.push_back({units.back(), candidates});
  }
  return engine::ScoreByHeads(plan, masses, candidates, observation.study.forced, links);
}

void KindBalancedMean::Add(const std::string& kind, double value) {
  Sum& sum = kinds_[kind];
  sum.sum += value;
  ++sum.count;
}

double KindBalancedMean::value() const {
  double mean = 0;
  for (const auto& [kind, sum] : kinds_) mean += sum.sum / sum.count / static_cast<double>(kinds_.size());
  return mean;
}

double Recall(const Observation& observation, const engine::PrunePlan& plan, absl::Span<const float> scores,
              double ratio) {
  const std::vector<int32_t>& forced = observation.study.forced;
  engine::PlanStage stage;
  stage.keep_ratio = ratio;
  const int64_t keep = engine::BlocksToKeep(plan, stage, 0, observation.prompt_tokens, forced);
  const std::vector<int32_t> kept = engine::SelectBlocks(AllBlocks(observation), scores, forced, keep);
  int64_t found = 0;
  for (const int32_t block : observation.evidence) found += std::binary_search(kept.begin(), kept.end(), block);
  return static_cast<double>(found) / static_cast<double>(observation.evidence.size());
}

std::vector<double> KindBalancedRecall(const std::vector<Observation>& observations, const engine::PrunePlan& plan,
                                       const std::vector<engine::LayerHead>& heads, const std::vector<double>& ratios) {
  std::vector<KindBalancedMean> means(ratios.size());
  for (const Observation& observation : observations) {
    if (observation.evidence.empty()) continue;
    const std::vector<float> scores =
        ScoreCandidates(observation, plan, heads, AllBlocks(observation), Links(observation, plan)).scores;
    for (size_t i = 0; i < ratios.size(); ++i) {
      means[i].Add(observation.kind, Recall(observation, plan, scores, ratios[i]));
    }
  }
  std::vector<double> recall;
  for (const KindBalancedMean& mean : means) recall.push_back(mean.value());
  return recall;
}

}  // namespace slimfill::calibrate
