#include "engine/calibrate/trial.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/must.h"

namespace slimfill::calibrate {
namespace {

constexpr double kLost = 1;  // nats a token: an answer that much less likely is lost, and not more than lost
constexpr double kSure = 2;  // standard errors beyond the margin at which a plan is given up

}  // namespace

eval::Arm PlanArm(const engine::PrunePlan& plan) {
  return {.name = kPlanArm, .plan = std::make_shared<const engine::PrunePlan>(plan)};
}

std::string PruneLayers(const engine::PrunePlan& plan) {
  return absl::StrJoin(plan.stages, ", ", [](std::string* out, const engine::PlanStage& stage) {
    absl::StrAppend(out, stage.prune_layer);
  });
}

Trial Compare(size_t candidate, const std::vector<eval::CaseResult>& dense,
              const std::vector<eval::CaseResult>& pruned) {
  Trial trial{.candidate = candidate, .questions = pruned.size(), .flops_ratio = 0};
  const auto count = static_cast<double>(pruned.size());
  std::vector<eval::Observed> excess;
  double squares = 0;
  for (size_t i = 0; i < pruned.size(); ++i) {
    const eval::RunResult& run = pruned[i].by_arm.at(kPlanArm);
    trial.flops_ratio += run.flops_ratio / count;
    excess.push_back({run.nll - dense[i].by_arm.at(kDenseArm).nll, pruned[i].document_id});
    const double lost = std::clamp(excess.back().value, -kLost, kLost);
    trial.loss += lost / count;
    squares += lost * lost / count;
  }
  trial.nll = eval::BootstrapMean(excess);
  const double variance = std::max(0.0, squares - trial.loss * trial.loss);
  if (pruned.size() > 1) trial.loss_error = std::sqrt(variance / (count - 1));
  return trial;
}

std::vector<Trial> TryPlans(engine::StudyEngine& engine, const Questions& questions,
                            const std::vector<Candidate>& candidates, double margin) {
  const eval::RunOptions first_token_only = {.max_tokens = 1};  // reference answers are all that counts
  const std::vector<eval::CaseResult> dense =
      RunCases(engine, questions, "trying dense", {Must(eval::MakeArm(kDenseArm, engine.info()))}, first_token_only);
  std::printf(
      "\ntrials, %zu questions each, fewer of those that lose much\n| prunes at | evidence kept | FLOPs ratio | "
      "questions | answer NLL over dense | lost |\n|---|---|---|---|---|---|\n",
      dense.size());
  std::vector<Trial> trials;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto hopeless = [&](const std::vector<eval::CaseResult>& so_far) {
      if (so_far.size() < dense.size() / 3) return false;
      const Trial trial = Compare(i, dense, so_far);
      return trial.loss - kSure * trial.loss_error > margin;
    };
    const std::vector<eval::CaseResult> pruned =
        RunCases(engine, questions, absl::StrCat("trying plan ", i + 1, " of at most ", candidates.size()),
                 {PlanArm(candidates[i].plan)}, first_token_only, hopeless);
    const Trial& trial = trials.emplace_back(Compare(i, dense, pruned));
    std::printf("| %s | %.1f %% | %.2fx | %zu | %+.3f [%+.3f, %+.3f] | %+.3f |\n",
                PruneLayers(candidates[i].plan).c_str(), 100 * candidates[i].merit.recall, trial.flops_ratio,
                trial.questions, trial.nll.mean, trial.nll.low, trial.nll.high, trial.loss);
    std::fflush(stdout);
    if (trial.loss <= margin) break;
  }
  return trials;
}

size_t BestCandidate(const std::vector<Trial>& trials, double margin) {
  if (trials.empty()) return 0;
  const Trial* best = &trials.front();  // cheapest first
  for (const Trial& trial : trials) {
    if (best->loss > margin && trial.loss < best->loss) best = &trial;
  }
  return best->candidate;
}

}  // namespace slimfill::calibrate
