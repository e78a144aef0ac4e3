#include "engine/calibrate/choose.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/prune/policy.h"

namespace slimfill::calibrate {
namespace {

using engine::LayerHead;
using engine::PlanStage;
using engine::PrunePlan;
using engine::ScoreKind;

constexpr double kHeadGain = 0.01;  // recall that one more head must add
constexpr size_t kShortList = 16;   // heads that greedy search tries
constexpr int kSecondSpan = 4;      // layers whose heads score the second pruning

double MeanRecall(const std::vector<Observation>& observations, const PrunePlan& plan,
                  const std::vector<LayerHead>& heads, const std::vector<double>& ratios) {
  double sum = 0;
  for (const double ratio : ratios) sum += KindBalancedRecall(observations, plan, heads, ratio);
  return sum / static_cast<double>(ratios.size());
}

// The best set among heads of layers [first, last], one head after the other while each adds enough.
std::vector<LayerHead> GreedyHeads(const std::vector<Observation>& observations, const PrunePlan& plan, int first,
                                   int last, const std::vector<double>& ratios, int max_heads) {
  std::vector<std::pair<double, LayerHead>> singles;
  for (int layer = first; layer <= last; ++layer) {
    for (int head = 0; head < observations.front().heads.heads; ++head) {
      singles.push_back({MeanRecall(observations, plan, {{layer, head}}, ratios), {layer, head}});
    }
  }
  std::stable_sort(singles.begin(), singles.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  singles.resize(std::min(singles.size(), kShortList));
  std::vector<LayerHead> chosen = {singles.front().second};
  double best = singles.front().first;
  while (static_cast<int>(chosen.size()) < max_heads) {
    double best_next = best;
    LayerHead next;
    for (const auto& [recall, head] : singles) {
      if (std::find(chosen.begin(), chosen.end(), head) != chosen.end()) continue;
      std::vector<LayerHead> candidate = chosen;
      candidate.push_back(head);
      const double with = MeanRecall(observations, plan, candidate, ratios);
      if (with > best_next) {
        best_next = with;
        next = head;
      }
    }
    if (best_next < best + kHeadGain) break;
    best = best_next;
    chosen.push_back(next);
  }
  return chosen;
}

PlanStage HeadStage(int layer, double ratio, std::vector<LayerHead> heads) {
  PlanStage stage;
  stage.prune_layer = layer;
  stage.keep_ratio = ratio;
  stage.score = ScoreKind::kHeads;
  stage.heads = std::move(heads);
  return stage;
}

int Depth(const engine::ModelConfig& config, double share) {
  return static_cast<int>(std::lround(share * config.layers));
}

// The heads of layers [first, last] and what they keep.
LayerFinding Find(const std::vector<Observation>& observations, const PrunePlan& plan, int first, int last,
                  const std::vector<double>& ratios, const std::vector<ScoreBudget>& by_score, int max_heads) {
  LayerFinding finding{.layer = last, .heads = GreedyHeads(observations, plan, first, last, ratios, max_heads)};
  double widest = 0;
  for (const double ratio : ratios) {
    finding.recall.push_back(KindBalancedRecall(observations, plan, finding.heads, ratio));
    widest = std::max(widest, ratio);
  }
  for (const ScoreBudget& budget : by_score) widest = std::max(widest, budget.most);
  finding.widest_recall = KindBalancedRecall(observations, plan, finding.heads, widest);
  return finding;
}

void AddThirdStage(const engine::ModelConfig& config, const ChooseOptions& options, PrunePlan& plan) {
  if (options.third_ratio == 0) return;  // little to save so late
  const int layer = Depth(config, 0.92);
  const PlanStage& last = plan.stages.back();
  if (layer <= last.prune_layer || layer >= config.layers - 1) return;
  PlanStage stage;
  stage.prune_layer = layer;
  stage.keep_ratio = std::min(options.third_ratio, last.keep_ratio);
  stage.score = ScoreKind::kPrevious;
  plan.stages.push_back(stage);
}

// A pruning by a finding's heads at every budget there is.
std::vector<PlanStage> StageChoices(const LayerFinding& finding, const std::vector<double>& ratios,
                                    const std::vector<ScoreBudget>& by_score) {
  std::vector<PlanStage> choices;
  for (const double ratio : ratios) choices.push_back(HeadStage(finding.layer, ratio, finding.heads));
  for (const ScoreBudget& budget : by_score) {
    PlanStage& stage = choices.emplace_back(HeadStage(finding.layer, budget.least, finding.heads));
    stage.keep_score = budget.keep_score;
    stage.max_ratio = budget.most;
  }
  return choices;
}

// Whether the heads keep the target at the widest budget: else there is no use in trying the others.
bool CanHold(const LayerFinding& finding, double target) { return finding.widest_recall >= target; }

// The cheapest plan that holds the target, with or without a second pruning. Empty stages: none does.
PrunePlan Cheapest(const Choice& findings, const engine::ModelConfig& config, const ChooseOptions& options,
                   Simulator& simulator, Merit& merit) {
  PrunePlan best;
  merit.cost = 1;
  const auto consider = [&](PrunePlan plan) {
    AddThirdStage(config, options, plan);
    const Merit found = simulator.Judge(plan);
    if (found.recall < options.recall || found.cost >= merit.cost) return;
    merit = found;
    best = std::move(plan);
  };
  for (const LayerFinding& first : findings.first_layers) {
    if (!CanHold(first, options.recall)) continue;
    for (const PlanStage& stage : StageChoices(first, options.first_ratios, options.first_by_score)) {
      PrunePlan plan;
      plan.name = options.name;
      plan.stages = {stage};
      // Alone it loses least: what it does not hold, no second pruning brings back.
      if (simulator.Judge(plan).recall < options.recall) continue;
      consider(plan);
      for (const LayerFinding& second : findings.second_layers) {
        if (!CanHold(second, options.recall) || second.layer - kSecondSpan < first.layer) continue;
        for (const PlanStage& next : StageChoices(second, options.second_ratios, options.second_by_score)) {
          if (next.keep_ratio >= stage.keep_ratio && next.keep_score == 0) continue;
          plan.stages.resize(1);
          plan.stages.push_back(next);
          consider(plan);
        }
      }
    }
  }
  return best;
}

// For prompts where the first pruning is not sure.
void AddRetry(const Choice& findings, const ChooseOptions& options, PrunePlan& plan) {
  const PlanStage& first = plan.stages.front();
  const double most = std::max(first.keep_ratio, first.max_ratio);
  const int limit = plan.stages.size() > 1 ? plan.stages[1].prune_layer : first.prune_layer;
  size_t wider = 0;
  while (wider + 1 < options.first_ratios.size() && options.first_ratios[wider] <= most) ++wider;
  const LayerFinding* best = nullptr;
  for (const LayerFinding& layer : findings.first_layers) {
    if (layer.layer <= first.prune_layer || layer.layer > limit) continue;
    if (best == nullptr || layer.recall[wider] > best->recall[wider] + kHeadGain) best = &layer;
  }
  if (best != nullptr) plan.retry = HeadStage(best->layer, options.first_ratios[wider], best->heads);
}

}  // namespace

absl::StatusOr<Choice> ChoosePlan(const std::vector<Observation>& observations, const engine::ModelConfig& config,
                                  const ChooseOptions& options) {
  Choice choice;
  const PrunePlan base;
  const int layers = observations.front().heads.layers;
  for (int layer = 0; layer < layers; ++layer) {
    choice.first_layers.push_back(
        Find(observations, base, layer, layer, options.first_ratios, options.first_by_score, options.max_first_heads));
    if (layer < kSecondSpan) continue;
    choice.second_layers.push_back(Find(observations, base, layer - kSecondSpan + 1, layer, options.second_ratios,
                                        options.second_by_score, options.max_second_heads));
  }
  Simulator simulator(observations, config);
  choice.plan = Cheapest(choice, config, options, simulator, choice.merit);
  if (choice.plan.stages.empty()) {
    double highest = 0;
    for (const LayerFinding& layer : choice.first_layers) highest = std::max(highest, layer.widest_recall);
    return absl::FailedPreconditionError(absl::StrFormat(
        "no layer's heads hold %.2f of the evidence at any budget (the best %.2f): lower --recall, or serve this model "
        "without a calibrated plan",
        options.recall, highest));
  }
  AddRetry(choice, options, choice.plan);
  return choice;
}

void ChooseThresholds(const std::vector<Observation>& observations, const engine::ModelConfig& config,
                      double false_alarms, PrunePlan& plan) {
  const PlanStage& first = plan.stages.front();
  PrunePlan first_only = plan;
  first_only.stages = {first};
  Simulator simulator(observations, config);
  std::vector<double> peaks, question_entropies, control_entropies;
  for (size_t i = 0; i < observations.size(); ++i) {
    const Observation& observation = observations[i];
    const std::vector<float> scores = CombinedScores(observation, first.heads);
    std::vector<int32_t> blocks(observation.heads.blocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    const double entropy = engine::NormalizedEntropy(scores, blocks, observation.heads.forced);
    if (observation.evidence.empty()) {
      control_entropies.push_back(entropy);
      continue;
    }
    question_entropies.push_back(entropy);
    if (simulator.Run(i, first_only).recall < 1) continue;
    float peak = 0;
    for (const LayerHead& head : first.heads) {
      peak = std::max(peak, observation.heads.Peak(head.layer, head.head));
    }
    peaks.push_back(peak);
  }
  const auto quantile = [](std::vector<double>& values, double share) {
    std::sort(values.begin(), values.end());
    const auto index = static_cast<size_t>(share * static_cast<double>(values.size() - 1));
    return values[index];
  };
  if (!peaks.empty()) plan.min_peak = plan.retry.has_value() ? quantile(peaks, false_alarms) : 0;
  if (question_entropies.empty() || control_entropies.empty()) return;
  const double highest_question = quantile(question_entropies, 1);
  const double lowest_control = quantile(control_entropies, 0);
  plan.max_entropy = lowest_control > highest_question ? (lowest_control + highest_question) / 2
                                                       : quantile(question_entropies, 1 - false_alarms);
}

}  // namespace slimfill::calibrate
