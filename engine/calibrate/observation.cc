#include "engine/calibrate/observation.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "engine/prune/policy.h"

namespace slimfill::calibrate {
namespace {

std::vector<int32_t> AllBlocks(const Observation& observation) {
  std::vector<int32_t> blocks(observation.heads.blocks);
  std::iota(blocks.begin(), blocks.end(), 0);
  return blocks;
}

}  // namespace

std::vector<float> CombinedScores(const Observation& observation, const std::vector<engine::LayerHead>& heads) {
  const std::vector<int32_t> blocks = AllBlocks(observation);
  std::vector<float> combined(blocks.size(), 0.0f);
  for (const engine::LayerHead& head : heads) {
    const absl::Span<const float> raw = observation.heads.Of(head.layer, head.head);
    std::vector<float> scores(raw.begin(), raw.end());
    if (heads.size() > 1) engine::NormalizeScores(blocks, observation.heads.forced, absl::MakeSpan(scores));
    engine::MaxInto(scores, absl::MakeSpan(combined));
  }
  return combined;
}

double Recall(const Observation& observation, const engine::PrunePlan& plan, const std::vector<float>& scores,
              double ratio) {
  const std::vector<int32_t>& forced = observation.heads.forced;
  engine::PlanStage stage;
  stage.keep_ratio = ratio;
  const int64_t keep = engine::BlocksToKeep(plan, stage, 0, observation.prompt_tokens, forced);
  const std::vector<int32_t> kept = engine::SelectBlocks(AllBlocks(observation), scores, forced, keep);
  int64_t found = 0;
  for (const int32_t block : observation.evidence) found += std::binary_search(kept.begin(), kept.end(), block);
  return static_cast<double>(found) / static_cast<double>(observation.evidence.size());
}

double KindBalancedRecall(const std::vector<Observation>& observations, const engine::PrunePlan& plan,
                          const std::vector<engine::LayerHead>& heads, double ratio) {
  std::map<std::string, std::pair<double, int>> by_kind;
  for (const Observation& observation : observations) {
    if (observation.evidence.empty()) continue;
    auto& [sum, count] = by_kind[observation.kind];
    sum += Recall(observation, plan, CombinedScores(observation, heads), ratio);
    ++count;
  }
  double total = 0;
  for (const auto& [kind, sum] : by_kind) total += sum.first / sum.second;
  return by_kind.empty() ? 0 : total / static_cast<double>(by_kind.size());
}

}  // namespace slimfill::calibrate
