#include "engine/calibrate/trial.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/must.h"

namespace slimfill::calibrate {
namespace {

constexpr double kLost = 1;      // nats a token: an answer that much less likely is lost, and not more than lost
constexpr double kHopeless = 2;  // margins that a plan may have lost after a third of the questions

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
  std::vector<eval::Observed> excess;
  std::map<std::string, std::pair<double, int>> by_kind;
  for (size_t i = 0; i < pruned.size(); ++i) {
    const eval::RunResult& run = pruned[i].by_arm.at(kPlanArm);
    trial.flops_ratio += run.flops_ratio / static_cast<double>(pruned.size());
    excess.push_back({run.nll - dense[i].by_arm.at(kDenseArm).nll, pruned[i].document_id});
    auto& [sum, count] = by_kind[pruned[i].kind];
    sum += std::clamp(excess.back().value, -kLost, kLost);
    ++count;
  }
  trial.nll = eval::BootstrapMean(excess);
  for (const auto& [kind, sum] : by_kind) {
    trial.loss += std::max(0.0, sum.first / sum.second) / static_cast<double>(by_kind.size());
  }
  return trial;
}

std::vector<Trial> TryPlans(engine::StudyEngine& engine, const Questions& questions,
                            const std::vector<Candidate>& candidates, double margin) {
  const eval::RunOptions first_token_only = {.max_tokens = 1};  // reference answers are all that counts
  const std::vector<eval::CaseResult> dense =
      RunCases(engine, questions, "trying dense", {Must(eval::MakeArm(kDenseArm, engine.info()))}, first_token_only);
  std::printf(
      "\ntrials, %zu questions each, fewer of those that lose much\n| prunes at | evidence kept | FLOPs ratio | "
      "questions "
      "| answer NLL over dense | kinds that lose |\n|---|---|---|---|---|---|\n",
      dense.size());
  std::vector<Trial> trials;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto hopeless = [&](const std::vector<eval::CaseResult>& so_far) {
      return so_far.size() >= dense.size() / 3 && Compare(i, dense, so_far).loss > kHopeless * margin;
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
