#include "engine/eval/arm.h"

#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "engine/eval/rng.h"
#include "engine/prune/plan.h"

namespace slimfill::eval {
namespace {

using engine::PrunePlan;
using engine::ScoreKind;

PrunePlan WithoutSafety(PrunePlan plan) {
  plan.retry.reset();
  plan.min_peak = 0;
  plan.max_entropy = 1;
  return plan;
}

// The built-in plan's layers and budgets with another score. Where a budget depends on the plan's own scores, the most
// that it allows: what is compared with the plan keeps no less than it.
PrunePlan WithScore(PrunePlan plan, ScoreKind score) {
  for (engine::PlanStage& stage : plan.stages) {
    stage.score = score;
    stage.heads.clear();
    if (stage.keep_score == 0) continue;
    stage.keep_tokens = 0;
    stage.keep_ratio = std::exchange(stage.max_ratio, 0);
    stage.keep_bands = std::exchange(stage.max_bands, {});
    stage.keep_score = 0;
  }
  return WithoutSafety(std::move(plan));
}

// UniPrefill's rule (arXiv 2605.06221) at the built-in plan's layers, its last queries and its nucleus. Its decode
// never brings anything back.
PrunePlan UniPrefill(const PrunePlan& builtin) {
  PrunePlan plan = WithScore(builtin, ScoreKind::kMeanAttention);
  plan.name = "uniprefill";
  plan.attention_window = 128;
  plan.swap_overlap = 0;
  for (engine::PlanStage& stage : plan.stages) {
    stage.keep_ratio = 0;
    stage.keep_bands.clear();
    stage.keep_tokens = 0;
    stage.keep_mass = 0.99;
  }
  return plan;
}

absl::StatusOr<PrunePlan> ReadPlan(absl::string_view path, const engine::ModelConfig& model) {
  std::ifstream file{std::string(path), std::ios::binary};
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read the plan file '", path, "'"));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return engine::ParsePlan(text, model);
}

absl::StatusOr<PrunePlan> PlanOf(absl::string_view name, const engine::ModelConfig& model) {
  const PrunePlan builtin = engine::BuiltinPlan(model);
  if (absl::ConsumePrefix(&name, "plan:")) return ReadPlan(name, model);
  if (name == "fast") return builtin;
  if (name == "safe") return engine::BuiltinPlan(model, engine::PlanVariant::kSafe);
  if (name == "unsafe") return WithoutSafety(builtin);
  if (name == "attention") return engine::UncalibratedPlan(model);
  if (name == "attention-early") return WithScore(builtin, ScoreKind::kAttention);
  if (name == "uniprefill") return UniPrefill(builtin);
  if (name == "paper") return WithScore(builtin, ScoreKind::kPaper);
  if (name == "recency") return WithScore(builtin, ScoreKind::kRecency);
  if (name == "random") return WithScore(builtin, ScoreKind::kRandom);
  if (name == "oracle") return WithScore(builtin, ScoreKind::kGiven);
  std::vector<std::string> names;
  for (const auto& [known, meaning] : ArmNames()) names.push_back(known);
  return absl::InvalidArgumentError(
      absl::StrCat("arm '", name, "' is not one of ", absl::StrJoin(names, ", "), " or plan:FILE"));
}

}  // namespace

std::vector<std::pair<std::string, std::string>> ArmNames() {
  return {{"dense", "no pruning"},
          {"fast", "the built-in plan that a request gets by default"},
          {"safe", "the safe built-in plan"},
          {"unsafe", "the built-in plan without its safety rules"},
          {"attention", "the plan of a model that was not calibrated"},
          {"attention-early", "attention mass at the built-in plan's layers and largest budgets"},
          {"paper", "SlimInfer's score at the same layers and budgets"},
          {"uniprefill", "UniPrefill's: mean attention of the last 128 queries, nucleus 0.99, at the same layers"},
          {"recency", "the last blocks, the same budgets"},
          {"random", "random blocks, the same budgets"},
          {"oracle", "the blocks that hold the evidence, the same budgets"}};
}

absl::StatusOr<Arm> MakeArm(absl::string_view name, const engine::EngineInfo& info) {
  Arm arm{.name = std::string(name)};
  const bool no_swap = absl::ConsumeSuffix(&name, "-noswap");
  if (name == "dense") {
    arm.mode = engine::PruningMode::kOff;
    return arm;
  }
  SLIMFILL_ASSIGN_OR_RETURN(PrunePlan plan, PlanOf(name, info.model));
  if (no_swap) plan.swap_overlap = 0;
  plan.prune_question_first = true;  // what that costs is asked
  arm.needs_evidence = plan.stages.front().score == ScoreKind::kGiven;
  arm.plan = std::make_shared<const PrunePlan>(std::move(plan));
  return arm;
}

std::string PlanId(const Arm& arm) {
  if (arm.plan == nullptr) return "";
  return absl::StrFormat("%s %08x", arm.plan->name, HashText(engine::PlanToJson(*arm.plan)) >> 32);
}

}  // namespace slimfill::eval
