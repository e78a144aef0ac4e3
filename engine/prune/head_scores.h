// ScoreKind::kHeads: block scores from what retrieval heads look at and where links lead from there. A pure function on
// the host, the same for every backend, for pruning and for calibration.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/prune/plan.h"
#include "engine/prune/policy.h"

namespace slimfill::engine {

// One head's unit masses [blocks * 8] over the blocks that its layer holds.
struct HeadMass {
  absl::Span<const float> units;
  absl::Span<const int32_t> blocks;
};

struct HeadScores {
  std::vector<float> scores;  // of the candidates
  // How sure the question itself is, without links: the largest unit mass outside `forced`, and the scores' entropy
  // (NormalizedEntropy).
  float peak = 0;
  float entropy = 0;
};

// Each head's dilated block scores, divided by its own best outside `forced`, then the largest over heads; and what
// the heads' units lead to along `links` (none: scores do not spread). `plan` says how scores are dilated and spread.
HeadScores ScoreByHeads(const PrunePlan& plan, absl::Span<const HeadMass> heads, absl::Span<const int32_t> candidates,
                        absl::Span<const int32_t> forced, absl::Span<const UnitLink> links);

}  // namespace slimfill::engine
