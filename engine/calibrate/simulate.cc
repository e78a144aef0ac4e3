#include "engine/calibrate/simulate.h"

#include <algorithm>

#include "engine/prune/policy.h"
#include "engine/stage.h"

namespace slimfill::calibrate {

using engine::LayerHead;
using engine::PlanStage;
using engine::PrunePlan;

namespace {

constexpr size_t kMostRemembered = 200'000;  // some 100 MB

std::vector<std::pair<int, int>> KeyOf(const std::vector<LayerHead>& heads) {
  std::vector<std::pair<int, int>> key;
  for (const LayerHead& head : heads) key.emplace_back(head.layer, head.head);
  return key;
}

}  // namespace

Simulator::Simulator(const std::vector<Observation>& observations, const engine::ModelConfig& config)
    : observations_(observations), config_(config) {
  for (const Observation& observation : observations) lengths_.push_back(observation.target_tokens);
  std::sort(lengths_.begin(), lengths_.end());
  lengths_.erase(std::unique(lengths_.begin(), lengths_.end()), lengths_.end());
}

const std::vector<float>& Simulator::Scores(size_t index, const PrunePlan& plan, const PlanStage& stage,
                                            const std::vector<int32_t>& candidates) {
  if (scores_.size() > kMostRemembered) scores_.clear();
  const auto [entry, is_new] =
      scores_.try_emplace(ScoresKey(index, KeyOf(stage.heads), KeyOf(plan.links.heads), candidates));
  if (is_new) {
    const Observation& observation = observations_[index];
    entry->second = ScoreCandidates(observation, plan, stage.heads, candidates, Links(observation, plan)).scores;
    engine::NormalizeScores(candidates, observation.study.forced, absl::MakeSpan(entry->second));
  }
  return entry->second;
}

Merit Simulator::Run(size_t index, const PrunePlan& plan) {
  const Observation& observation = observations_[index];
  const std::vector<int32_t>& forced = observation.study.forced;
  std::vector<int32_t> left = AllBlocks(observation), found = observation.evidence;
  std::vector<int64_t> kept;
  for (const PlanStage& stage : plan.stages) {
    const std::vector<float>& scores = Scores(index, plan, stage, left);
    const int64_t budget = engine::BlocksToKeep(plan, stage, 0, observation.prompt_tokens, forced);
    const int64_t keep =
        engine::BlocksToKeepByScore(plan, stage, budget, observation.prompt_tokens, left, scores, forced);
    left = engine::SelectBlocks(left, scores, forced, keep);
    kept.push_back(static_cast<int64_t>(left.size()));
    std::erase_if(found, [&](int32_t block) { return !std::binary_search(left.begin(), left.end(), block); });
  }
  const std::vector<engine::Stage> stages = engine::PrunedStages(plan, kept, config_.layers);
  const int64_t tokens = observation.prompt_tokens;
  const double pruned = engine::Flops(engine::StagesWork(stages, config_, tokens, tokens, 0), config_);
  const double dense = engine::DenseFlops(tokens, config_);
  const double evidence = static_cast<double>(observation.evidence.size());
  return {evidence == 0 ? 1 : static_cast<double>(found.size()) / evidence, pruned / dense};
}

Merit Simulator::JudgeLength(const PrunePlan& plan, int64_t length) {
  KindBalancedMean recall;
  double cost = 0;
  int prompts = 0;
  for (size_t i = 0; i < observations_.size(); ++i) {
    if (observations_[i].target_tokens != length) continue;
    const Merit outcome = Run(i, plan);
    cost += outcome.cost;
    ++prompts;
    if (!observations_[i].evidence.empty()) recall.Add(observations_[i].kind, outcome.recall);
  }
  return {recall.empty() ? 1 : recall.value(), cost / prompts};
}

Merit Simulator::Judge(const PrunePlan& plan) {
  Merit merit{.recall = 1, .cost = 0};
  for (const int64_t length : lengths_) {
    const Merit of_length = JudgeLength(plan, length);
    merit.recall = std::min(merit.recall, of_length.recall);
    merit.cost += of_length.cost / static_cast<double>(lengths_.size());
  }
  return merit;
}

}  // namespace slimfill::calibrate
