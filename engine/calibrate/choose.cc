#include "engine/calibrate/choose.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/prune/policy.h"
#include "engine/stage.h"

namespace slimfill::calibrate {
namespace {

using engine::LayerHead;
using engine::PlanStage;
using engine::PrunePlan;
using engine::ScoreKind;

constexpr double kHeadGain = 0.01;  // recall that one more head must add
constexpr size_t kShortList = 24;   // heads that greedy search tries

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

double PlanFlops(const PrunePlan& plan, const engine::ModelConfig& config, int64_t tokens,
                 const std::vector<int32_t>& forced) {
  std::vector<int64_t> keep;
  for (const PlanStage& stage : plan.stages) keep.push_back(engine::BlocksToKeep(plan, stage, 0, tokens, forced));
  const std::vector<engine::Stage> stages = engine::PrunedStages(plan, keep, config.layers);
  return engine::Flops(engine::StagesWork(stages, config, tokens, tokens, 0), config);
}

int Depth(const engine::ModelConfig& config, double share) {
  return static_cast<int>(std::lround(share * config.layers));
}

// The later prunings behind a first one.
void AddLaterStages(const engine::ModelConfig& config, const ChooseOptions& options,
                    const std::vector<LayerHead>& second_heads, PrunePlan& plan) {
  const PlanStage first = plan.stages.front();
  std::vector<LayerHead> heads;
  int last = Depth(config, 0.45);
  for (const LayerHead& head : second_heads) {
    if (head.layer > first.prune_layer) heads.push_back(head);
    last = std::max(last, head.layer);
  }
  if (last > first.prune_layer && !heads.empty()) {
    plan.stages.push_back(HeadStage(last, std::min(options.second_ratio, first.keep_ratio), heads));
  }
  const int third = Depth(config, 0.92);
  if (third > plan.stages.back().prune_layer && third < config.layers - 1) {
    PlanStage stage;
    stage.prune_layer = third;
    stage.keep_ratio = std::min(options.third_ratio, plan.stages.back().keep_ratio);
    stage.score = ScoreKind::kPrevious;
    plan.stages.push_back(stage);
  }
}

// Of the layers after the first pruning's: the best head, at a larger budget, for prompts where the first is not sure.
void AddRetry(const std::vector<LayerFinding>& layers, const ChooseOptions& options, PrunePlan& plan) {
  const PlanStage& first = plan.stages.front();
  const int limit = plan.stages.size() > 1 ? plan.stages[1].prune_layer : first.prune_layer;
  const LayerFinding* best = nullptr;
  size_t wider = 0;
  while (wider + 1 < options.first_ratios.size() && options.first_ratios[wider] <= first.keep_ratio) ++wider;
  for (const LayerFinding& layer : layers) {
    if (layer.layer <= first.prune_layer || layer.layer > limit) continue;
    if (best == nullptr || layer.recall[wider] > best->recall[wider] + kHeadGain) best = &layer;
  }
  if (best == nullptr) return;
  plan.retry = HeadStage(best->layer, options.first_ratios[wider], best->heads);
}

}  // namespace

absl::StatusOr<Choice> ChoosePlan(const std::vector<Observation>& observations, const engine::ModelConfig& config,
                                  const ChooseOptions& options) {
  Choice choice;
  choice.plan.name = options.name;
  const PrunePlan base = choice.plan;
  const int layers = observations.front().heads.layers;
  int64_t tokens = 0;
  for (const Observation& observation : observations) tokens += observation.prompt_tokens;
  tokens /= static_cast<int64_t>(observations.size());

  const std::vector<LayerHead> second_heads =
      GreedyHeads(observations, base, Depth(config, 0.25), std::min(layers - 1, Depth(config, 0.55)),
                  {options.second_ratio}, options.max_second_heads);
  choice.second_recall = KindBalancedRecall(observations, base, second_heads, options.second_ratio);
  double least = std::numeric_limits<double>::infinity(), highest = 0;
  for (int layer = 0; layer < layers; ++layer) {
    LayerFinding finding{.layer = layer};
    finding.heads = GreedyHeads(observations, base, layer, layer, options.first_ratios, options.max_first_heads);
    for (const double ratio : options.first_ratios) {
      finding.recall.push_back(KindBalancedRecall(observations, base, finding.heads, ratio));
      highest = std::max(highest, finding.recall.back());
      if (finding.recall.back() < options.target_recall) continue;
      PrunePlan plan = base;
      plan.stages = {HeadStage(layer, ratio, finding.heads)};
      AddLaterStages(config, options, second_heads, plan);
      const double flops = PlanFlops(plan, config, tokens, observations.front().heads.forced);
      if (flops < least) {
        least = flops;
        choice.plan = plan;
      }
    }
    choice.first_layers.push_back(std::move(finding));
  }
  if (choice.plan.stages.empty()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "no layer's heads hold %.2f of the evidence at any budget (the best %.2f): lower --recall, or serve this model "
        "without a calibrated plan",
        options.target_recall, highest));
  }
  AddRetry(choice.first_layers, options, choice.plan);
  return choice;
}

void ChooseThresholds(const std::vector<Observation>& observations, double false_alarms, PrunePlan& plan) {
  const PlanStage& first = plan.stages.front();
  std::vector<double> peaks, question_entropies, control_entropies;
  for (const Observation& observation : observations) {
    const std::vector<float> scores = CombinedScores(observation, first.heads);
    std::vector<int32_t> blocks(observation.heads.blocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    const double entropy = engine::NormalizedEntropy(scores, blocks, observation.heads.forced);
    if (observation.evidence.empty()) {
      control_entropies.push_back(entropy);
      continue;
    }
    question_entropies.push_back(entropy);
    if (Recall(observation, plan, scores, first.keep_ratio) < 1) continue;
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
