#include "engine/prune/head_scores.h"

#include <algorithm>

#include "engine/ops/backend.h"

namespace slimfill::engine {

HeadScores ScoreByHeads(const PrunePlan& plan, absl::Span<const HeadMass> heads, absl::Span<const int32_t> candidates,
                        absl::Span<const int32_t> forced, absl::Span<const UnitLink> links) {
  const auto dilated = [&](absl::Span<const float> units, absl::Span<const int32_t> blocks) {
    return DilatedBlockScores(units, blocks, plan.dilate_forward_units, plan.dilate_backward_units);
  };
  HeadScores result{.scores = std::vector<float>(candidates.size(), 0.0f)};
  std::vector<float> unit_scores(candidates.size() * kUnitsPerBlock, 0.0f);
  for (const HeadMass& head : heads) {
    std::vector<float> scores = CarryScores(head.blocks, dilated(head.units, head.blocks), candidates);
    NormalizeScores(candidates, forced, absl::MakeSpan(scores));
    MaxInto(scores, absl::MakeSpan(result.scores));
    const float peak = PeakMass(head.units, head.blocks, forced);
    result.peak = std::max(result.peak, peak);
    if (links.empty() || peak <= 0) continue;
    std::vector<float> units = CarryUnitScores(head.blocks, head.units, candidates);
    for (float& score : units) score /= peak;
    MaxInto(units, absl::MakeSpan(unit_scores));
  }
  result.entropy = NormalizedEntropy(result.scores, candidates, forced);
  if (links.empty()) return result;
  const std::vector<float> spread = SpreadScores(unit_scores, candidates, forced, links, plan.links);
  MaxInto(dilated(spread, candidates), absl::MakeSpan(result.scores));
  return result;
}

}  // namespace slimfill::engine
