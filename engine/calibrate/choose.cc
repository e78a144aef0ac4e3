#include "engine/calibrate/choose.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>

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
// Where the second pruning may be, shares of the depth: earlier, answers get worse than the evidence that is kept
// tells.
constexpr double kSecondDepths[] = {0.54, 0.71};
constexpr double kLadder[] = {0, 0.5};  // targets, from the least to all of the evidence
constexpr double kLinksMayAdd = 0.1;    // recall: a second pruning's heads are looked at without links

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::vector<LayerHead> HeadsOf(int first_layer, int last_layer, int heads) {
  std::vector<LayerHead> all;
  for (int layer = first_layer; layer <= last_layer; ++layer) {
    for (int head = 0; head < heads; ++head) all.push_back({layer, head});
  }
  return all;
}

// The best set of `heads`, one after the other while each adds enough to `value`, which begins at `without`.
std::vector<LayerHead> GreedyHeads(const std::vector<LayerHead>& heads, int most, double without,
                                   const std::function<double(const std::vector<LayerHead>&)>& value) {
  std::vector<std::pair<double, LayerHead>> singles;
  for (const LayerHead& head : heads) singles.push_back({value({head}), head});
  std::stable_sort(singles.begin(), singles.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  singles.resize(std::min(singles.size(), kShortList));
  std::vector<LayerHead> chosen;
  double best = without;
  while (static_cast<int>(chosen.size()) < most) {
    double best_next = best;
    LayerHead next;
    for (const auto& [alone, head] : singles) {
      if (std::find(chosen.begin(), chosen.end(), head) != chosen.end()) continue;
      std::vector<LayerHead> candidate = chosen;
      candidate.push_back(head);
      const double with = chosen.empty() ? alone : value(candidate);
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

// The heads of layers [first, last] that keep most. Without links.
LayerFinding Find(const std::vector<Observation>& observations, int first, int last, const BudgetGrid& grid,
                  int max_heads) {
  const PrunePlan no_links;
  const auto recall = [&](const std::vector<LayerHead>& heads) {
    return KindBalancedRecall(observations, no_links, heads, grid.ratios);
  };
  LayerFinding finding{.layer = last};
  finding.heads = GreedyHeads(HeadsOf(first, last, observations.front().study.heads), max_heads, -1,
                              [&](const std::vector<LayerHead>& heads) { return Mean(recall(heads)); });
  finding.recall = recall(finding.heads);
  return finding;
}

// Adds the link heads, at or before the finding's layer, by which its heads keep most.
void FindLinks(const std::vector<Observation>& observations, const BudgetGrid& grid, int max_heads,
               LayerFinding& finding) {
  const engine::HeadStudy& study = observations.front().study;
  const auto recall = [&](const std::vector<LayerHead>& link_heads) {
    PrunePlan plan;
    plan.links.heads = link_heads;
    return KindBalancedRecall(observations, plan, finding.heads, grid.ratios);
  };
  finding.link_heads =
      GreedyHeads(HeadsOf(0, std::min(finding.layer, study.link_layers - 1), study.heads), max_heads,
                  Mean(finding.recall), [&](const std::vector<LayerHead>& heads) { return Mean(recall(heads)); });
  if (!finding.link_heads.empty()) finding.recall = recall(finding.link_heads);
}

PlanStage HeadStage(const LayerFinding& finding, double ratio) {
  PlanStage stage;
  stage.prune_layer = finding.layer;
  stage.keep_ratio = ratio;
  stage.score = ScoreKind::kHeads;
  stage.heads = finding.heads;
  return stage;
}

// Lets a stage keep at most `most[i]` of prompts of about `lengths[i]` tokens: longer than what lies half-way (by
// ratio) to the length before, and up to half-way to the next. With a keep_score the least is the grid's.
void SetBudgets(const std::vector<int64_t>& lengths, const std::vector<double>& most, const BudgetGrid& grid,
                PlanStage& stage) {
  double& ratio = stage.keep_score > 0 ? stage.max_ratio : stage.keep_ratio;
  std::vector<engine::KeepBand>& bands = stage.keep_score > 0 ? stage.max_bands : stage.keep_bands;
  if (stage.keep_score > 0) stage.keep_ratio = grid.ratios.front();
  ratio = most.back();
  bands.clear();
  for (size_t i = 0; i < most.size(); ++i) {
    if (i + 1 < most.size() && most[i] == most[i + 1]) continue;
    const double border = i + 1 < most.size() ? std::sqrt(static_cast<double>(lengths[i]) * lengths[i + 1]) : 0;
    bands.push_back({static_cast<int64_t>(border), most[i]});
  }
  if (bands.size() == 1) bands.clear();
  if (!bands.empty()) ratio = 0;
}

// The most that each pruning keeps of prompts of one length.
struct Budgets {
  double first = 0, second = 0;
  double cost = 1;
};

// Looks for the budgets of a plan whose layers, heads and keep_scores are set.
class BudgetSearch {
 public:
  BudgetSearch(const ChooseOptions& options, double target, Simulator& simulator)
      : options_(options), target_(target), simulator_(simulator) {}

  // The cheapest that hold the target at every length; nullopt when none do at one of them.
  std::optional<Candidate> Cheapest(PrunePlan plan) {
    std::vector<double> first, second;
    for (const int64_t length : simulator_.lengths()) {
      const std::optional<Budgets> budgets = CheapestAt(plan, length);
      if (!budgets.has_value()) return std::nullopt;
      first.push_back(budgets->first);
      second.push_back(budgets->second);
    }
    SetBudgets(simulator_.lengths(), first, options_.first, plan.stages[0]);
    if (plan.stages.size() > 1) SetBudgets(simulator_.lengths(), second, options_.second, plan.stages[1]);
    const Merit merit = simulator_.Judge(plan);
    return Candidate{std::move(plan), merit};
  }

 private:
  Merit Judge(PrunePlan& plan, size_t stages, int64_t length, double first, double second) {
    SetBudgets({length}, {first}, options_.first, plan.stages[0]);
    if (stages > 1) SetBudgets({length}, {second}, options_.second, plan.stages[1]);
    if (stages == plan.stages.size()) return simulator_.JudgeLength(plan, length);
    PrunePlan first_only = plan;
    first_only.stages.resize(1);
    return simulator_.JudgeLength(first_only, length);
  }

  static bool IsChoice(const PlanStage& stage, const BudgetGrid& grid, double most) {
    return stage.keep_score == 0 || most > grid.ratios.front();
  }

  std::optional<Budgets> CheapestAt(PrunePlan& plan, int64_t length) {
    std::optional<Budgets> best;
    for (const double first : options_.first.ratios) {
      if (!IsChoice(plan.stages[0], options_.first, first)) continue;
      // Alone it loses least: what it does not hold, no second pruning brings back.
      const Merit alone = Judge(plan, 1, length, first, 0);
      if (alone.recall < target_) continue;
      if (plan.stages.size() == 1) return Budgets{first, 0, alone.cost};
      for (const double second : options_.second.ratios) {
        if (second >= first) break;
        if (!IsChoice(plan.stages[1], options_.second, second)) continue;
        const Merit merit = Judge(plan, 2, length, first, second);
        if (best.has_value() && merit.cost >= best->cost) break;  // larger ones cost more
        if (merit.recall < target_) continue;
        best = {first, second, merit.cost};
        break;
      }
    }
    return best;
  }

  const ChooseOptions& options_;
  const double target_;
  Simulator& simulator_;
};

// The cheapest plan by this first pruning and a second one at `second_layer`; -1: none.
std::optional<Candidate> CheapestOf(const LayerFinding& first, int second_layer,
                                    const std::vector<LayerFinding>& second_heads, const ChooseOptions& options,
                                    double target, Simulator& simulator) {
  BudgetSearch search(options, target, simulator);
  std::optional<Candidate> best;
  const auto consider = [&](const PrunePlan& plan) {
    std::optional<Candidate> found = search.Cheapest(plan);
    if (found.has_value() && (!best.has_value() || found->merit.cost < best->merit.cost)) best = std::move(found);
  };
  for (const double first_score : options.first.keep_scores) {
    PrunePlan plan;
    plan.name = options.name;
    plan.links.heads = first.link_heads;
    plan.stages = {HeadStage(first, 0)};
    plan.stages[0].keep_score = first_score;
    if (second_layer < 0) consider(plan);
    for (const LayerFinding& second : second_heads) {
      if (second.layer > second_layer || second.layer - kSecondSpan < first.layer) continue;
      if (second.recall.back() < target - kLinksMayAdd) continue;
      for (const double second_score : options.second.keep_scores) {
        plan.stages.resize(1);
        PlanStage& stage = plan.stages.emplace_back(HeadStage(second, 0));
        stage.prune_layer = second_layer;
        stage.keep_score = second_score;
        consider(plan);
      }
    }
  }
  return best;
}

// For prompts where the first pruning is not sure.
void AddRetry(const std::vector<LayerFinding>& layers, const ChooseOptions& options, PrunePlan& plan) {
  const PlanStage& first = plan.stages.front();
  const int limit = plan.stages.size() > 1 ? plan.stages[1].prune_layer : first.prune_layer;
  const std::vector<double>& ratios = options.first.ratios;
  size_t wider = 0;
  while (wider + 1 < ratios.size() && ratios[wider] <= MostKept(first)) ++wider;
  const LayerFinding* best = nullptr;
  for (const LayerFinding& layer : layers) {
    if (layer.layer <= first.prune_layer || layer.layer > limit) continue;
    if (best == nullptr || layer.recall[wider] > best->recall[wider] + kHeadGain) best = &layer;
  }
  if (best != nullptr) plan.retry = HeadStage(*best, ratios[wider]);
}

// Whether each pruning of `a` is no earlier than that of `b`. None is the latest.
bool PrunesNoEarlier(const PrunePlan& a, const PrunePlan& b) {
  for (size_t i = 0; i < std::min(a.stages.size(), b.stages.size()); ++i) {
    if (a.stages[i].prune_layer < b.stages[i].prune_layer) return false;
  }
  return a.stages.size() <= b.stages.size();
}

// Cheapest first, without those that another one betters.
void KeepUseful(std::vector<Candidate>& candidates) {
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.merit.cost < b.merit.cost; });
  std::vector<Candidate> useful;
  for (Candidate& candidate : candidates) {
    const bool bettered = std::any_of(useful.begin(), useful.end(), [&](const Candidate& other) {
      return other.merit.recall >= candidate.merit.recall && PrunesNoEarlier(other.plan, candidate.plan);
    });
    if (!bettered) useful.push_back(std::move(candidate));
  }
  candidates = std::move(useful);
}

std::vector<Candidate> FindCandidates(const Findings& findings, const std::vector<Observation>& observations,
                                      const engine::ModelConfig& config, const ChooseOptions& options) {
  std::vector<Candidate> candidates;
  Simulator simulator(observations, config);
  std::vector<int> second_layers = {-1};
  for (const double depth : kSecondDepths)
    second_layers.push_back(static_cast<int>(std::lround(depth * config.layers)));
  for (const LayerFinding& first : findings.first_layers) {
    if (first.recall.back() < options.recall) continue;  // at the widest budget
    for (const int second_layer : second_layers) {
      for (const double share : kLadder) {
        const double target = options.recall + share * (1 - options.recall);
        std::optional<Candidate> found =
            CheapestOf(first, second_layer, findings.second_layers, options, target, simulator);
        if (!found.has_value()) continue;
        AddRetry(findings.first_layers, options, found->plan);
        candidates.push_back(*std::move(found));
      }
    }
  }
  KeepUseful(candidates);
  return candidates;
}

}  // namespace

double MostKept(const PlanStage& stage) {
  double most = std::max(stage.keep_ratio, stage.max_ratio);
  for (const auto* bands : {&stage.keep_bands, &stage.max_bands}) {
    for (const engine::KeepBand& band : *bands) most = std::max(most, band.ratio);
  }
  return most;
}

absl::StatusOr<Findings> FindPlans(const std::vector<Observation>& observations, const engine::ModelConfig& config,
                                   const ChooseOptions& options) {
  Findings findings;
  const int layers = observations.front().study.layers;
  for (int layer = 0; layer < layers; ++layer) {
    LayerFinding& first =
        findings.first_layers.emplace_back(Find(observations, layer, layer, options.first, options.max_first_heads));
    FindLinks(observations, options.first, options.max_link_heads, first);
    if (layer < kSecondSpan) continue;
    findings.second_layers.push_back(
        Find(observations, layer - kSecondSpan + 1, layer, options.second, options.max_second_heads));
  }
  findings.candidates = FindCandidates(findings, observations, config, options);
  if (findings.candidates.empty()) {
    double highest = 0;
    for (const LayerFinding& layer : findings.first_layers) highest = std::max(highest, layer.recall.back());
    return absl::FailedPreconditionError(absl::StrFormat(
        "no layer's heads hold %.2f of the evidence at any budget (the best %.2f): lower --recall, or serve this model "
        "without a calibrated plan",
        options.recall, highest));
  }
  return findings;
}

void ChooseThresholds(const std::vector<Observation>& observations, const engine::ModelConfig& config,
                      double false_alarms, PrunePlan& plan) {
  PrunePlan first_only = plan;
  first_only.stages.resize(1);
  Simulator simulator(observations, config);
  std::vector<double> peaks, question_entropies, control_entropies;
  for (size_t i = 0; i < observations.size(); ++i) {
    const Observation& observation = observations[i];
    const engine::HeadScores seen =
        ScoreCandidates(observation, plan, plan.stages.front().heads, AllBlocks(observation), {});
    if (observation.evidence.empty()) {
      control_entropies.push_back(seen.entropy);
      continue;
    }
    question_entropies.push_back(seen.entropy);
    if (simulator.Run(i, first_only).recall == 1) peaks.push_back(seen.peak);
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
