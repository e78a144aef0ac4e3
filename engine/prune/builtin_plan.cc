// The plans that come with the program: engine/prune/plans/*.json.
#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "base/status.h"
#include "engine/prune/plan.h"
#include "engine/prune/plans/builtin_plans_data.h"

namespace slimfill::engine {

std::vector<PrunePlan> BuiltinPlans(const ModelConfig& config) {
  std::vector<PrunePlan> plans;
  for (const char* text : BuiltinPlanTexts()) {
    absl::StatusOr<PrunePlan> plan = ParsePlan(text, config);
    // Of another model. Anything else would be our own mistake, which a test finds.
    if (plan.ok()) plans.push_back(*std::move(plan));
  }
  return plans;
}

PrunePlan BuiltinPlan(const ModelConfig& config, PlanVariant variant) {
  const char* suffix = variant == PlanVariant::kFast ? "-fast" : "-safe";
  const char* other = variant == PlanVariant::kFast ? "-safe" : "-fast";
  std::vector<PrunePlan> plans = BuiltinPlans(config);
  const auto wanted = std::find_if(plans.begin(), plans.end(),
                                   [&](const PrunePlan& plan) { return absl::EndsWith(plan.name, suffix); });
  if (wanted != plans.end()) return *std::move(wanted);
  const auto only = std::find_if(plans.begin(), plans.end(),
                                 [&](const PrunePlan& plan) { return !absl::EndsWith(plan.name, other); });
  if (only != plans.end()) return *std::move(only);
  return UncalibratedPlan(config);
}

// Depths at which score kAttention keeps the quality of small models: 11, 17 and 22 of 24 layers.
PrunePlan UncalibratedPlan(const ModelConfig& config) {
  PrunePlan plan;
  plan.name = "uncalibrated";
  plan.attention_layers = std::min(plan.attention_layers, config.layers);
  const std::pair<double, double> depth_and_ratio[] = {{0.47, 0.25}, {0.71, 0.1875}, {0.92, 0.125}};
  for (const auto& [depth, ratio] : depth_and_ratio) {
    const int layer = static_cast<int>(std::lround(depth * config.layers));
    const bool first_or_deeper = plan.stages.empty() || layer > plan.stages.back().prune_layer;
    if (layer >= config.layers - 1 || !first_or_deeper) continue;
    PlanStage& stage = plan.stages.emplace_back();
    stage.prune_layer = layer;
    stage.keep_ratio = ratio;
    stage.score = ScoreKind::kAttention;
  }
  return plan;
}

}  // namespace slimfill::engine
