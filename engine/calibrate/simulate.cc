#include "engine/calibrate/simulate.h"

#include <algorithm>
#include <numeric>

#include "engine/prune/policy.h"
#include "engine/stage.h"

namespace slimfill::calibrate {

using engine::PlanStage;
using engine::PrunePlan;
using engine::ScoreKind;

const std::vector<float>& Simulator::Scores(size_t observation, const std::vector<engine::LayerHead>& heads) {
  std::vector<std::pair<int, int>> key;
  for (const engine::LayerHead& head : heads) key.emplace_back(head.layer, head.head);
  std::vector<std::vector<float>>& scores = scores_[key];
  scores.resize(observations_.size());
  if (scores[observation].empty()) scores[observation] = CombinedScores(observations_[observation], heads);
  return scores[observation];
}

Merit Simulator::Run(size_t index, const PrunePlan& plan) {
  const Observation& observation = observations_[index];
  const std::vector<int32_t>& forced = observation.heads.forced;
  std::vector<int32_t> all(observation.heads.blocks);
  std::iota(all.begin(), all.end(), 0);
  std::vector<int32_t> left = all, found = observation.evidence;
  std::vector<float> scores;
  std::vector<int64_t> kept;
  for (const PlanStage& stage : plan.stages) {
    const bool own = stage.score == ScoreKind::kHeads;
    if (own) scores = Scores(index, stage.heads);
    std::vector<float> of_left = engine::CarryScores(all, scores, left);
    engine::NormalizeScores(left, forced, absl::MakeSpan(of_left));
    const int64_t budget = engine::BlocksToKeep(plan, stage, 0, observation.prompt_tokens, forced);
    const int64_t keep =
        engine::BlocksToKeepByScore(plan, stage, budget, observation.prompt_tokens, left, of_left, forced);
    left = engine::SelectBlocks(left, of_left, forced, keep);
    kept.push_back(static_cast<int64_t>(left.size()));
    if (own) std::erase_if(found, [&](int32_t block) { return !std::binary_search(left.begin(), left.end(), block); });
  }
  const std::vector<engine::Stage> stages = engine::PrunedStages(plan, kept, config_.layers);
  const int64_t tokens = observation.prompt_tokens;
  const double pruned = engine::Flops(engine::StagesWork(stages, config_, tokens, tokens, 0), config_);
  const double dense = engine::DenseFlops(tokens, config_);
  const double evidence = static_cast<double>(observation.evidence.size());
  return {evidence == 0 ? 1 : static_cast<double>(found.size()) / evidence, pruned / dense};
}

Merit Simulator::Judge(const PrunePlan& plan) {
  struct Sum {
    double recall = 0;
    int count = 0;
  };
  std::map<int64_t, std::map<std::string, Sum>> by_length;
  double cost = 0;
  for (size_t i = 0; i < observations_.size(); ++i) {
    const Merit outcome = Run(i, plan);
    cost += outcome.cost / static_cast<double>(observations_.size());
    if (observations_[i].evidence.empty()) continue;
    Sum& sum = by_length[observations_[i].target_tokens][observations_[i].kind];
    sum.recall += outcome.recall;
    ++sum.count;
  }
  Merit merit{.recall = 1, .cost = cost};
  for (const auto& [length, kinds] : by_length) {
    double mean = 0;
    for (const auto& [kind, sum] : kinds) mean += sum.recall / sum.count / static_cast<double>(kinds.size());
    merit.recall = std::min(merit.recall, mean);
  }
  return merit;
}

}  // namespace slimfill::calibrate
