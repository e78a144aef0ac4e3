#include "engine/prune/policy.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <random>

#include "base/status.h"
#include "engine/ops/backend.h"

namespace slimfill::engine {
namespace {

bool Contains(absl::Span<const int32_t> ascending, int32_t block) {
  return std::binary_search(ascending.begin(), ascending.end(), block);
}

}  // namespace

int64_t BlockCount(int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

std::vector<int32_t> ForcedBlocks(const PrunePlan& plan, int64_t prompt_tokens, const QuestionSegment& question) {
  const int64_t blocks = BlockCount(prompt_tokens);
  const int64_t local_begin = std::max<int64_t>(0, blocks - plan.LocalBlocksFor(prompt_tokens));
  const int64_t question_begin = question.tokens.first / kBlockTokens;
  const int64_t question_end = BlockCount(question.tokens.second);
  std::vector<int32_t> forced;
  for (int64_t block = 0; block < blocks; ++block) {
    const bool in_question = block >= question_begin && block < question_end;
    if (block < plan.sink_blocks || block >= local_begin || in_question) forced.push_back(static_cast<int32_t>(block));
  }
  return forced;
}

int64_t BlocksToKeep(const PrunePlan& plan, const PlanStage& stage, double ratio_override, int64_t prompt_tokens,
                     absl::Span<const int32_t> forced) {
  const int64_t blocks = BlockCount(prompt_tokens);
  if (stage.keep_mass > 0 && ratio_override <= 0) return blocks;
  const double ratio = ratio_override > 0 ? ratio_override : stage.RatioFor(prompt_tokens);
  int64_t budget = ratio > 0 ? std::llround(ratio * static_cast<double>(blocks)) : BlockCount(stage.keep_tokens);
  // Forced blocks inside the budget: the sinks and a few local ones. The rest comes on top, so that a long question or
  // a wide local window does not take the place of what was looked for.
  const int64_t budgeted = std::min<int64_t>(plan.sink_blocks + plan.budgeted_local_blocks, forced.size());
  budget += static_cast<int64_t>(forced.size()) - budgeted;
  budget = std::max({budget, static_cast<int64_t>(plan.min_blocks), static_cast<int64_t>(forced.size())});
  return std::min(budget, blocks);
}

int64_t BlocksForMass(absl::Span<const int32_t> candidates, absl::Span<const float> scores,
                      absl::Span<const int32_t> forced, double mass) {
  SLIMFILL_CHECK(candidates.size() == scores.size());
  std::vector<size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  const double wanted = mass * std::accumulate(scores.begin(), scores.end(), 0.0);
  auto keep = static_cast<int64_t>(forced.size());
  double sum = 0;
  for (const size_t index : order) {
    if (sum >= wanted) break;
    sum += scores[index];
    if (!Contains(forced, candidates[index])) ++keep;
  }
  return keep;
}

int64_t BlocksToKeepByScore(const PrunePlan& plan, const PlanStage& stage, int64_t budget, int64_t prompt_tokens,
                            absl::Span<const int32_t> candidates, absl::Span<const float> scores,
                            absl::Span<const int32_t> forced) {
  if (stage.keep_mass > 0) return BlocksForMass(candidates, scores, forced, stage.keep_mass);
  if (stage.keep_score == 0) return budget;
  auto count = static_cast<int64_t>(forced.size());
  for (size_t i = 0; i < candidates.size(); ++i) {
    count += scores[i] >= static_cast<float>(stage.keep_score) && !Contains(forced, candidates[i]);
  }
  const int64_t most = BlocksToKeep(plan, stage, stage.MaxRatioFor(prompt_tokens), prompt_tokens, forced);
  return std::clamp(count, budget, std::max(budget, most));
}

std::vector<float> DilatedBlockScores(absl::Span<const float> units, absl::Span<const int32_t> candidates, int forward,
                                      int backward) {
  SLIMFILL_CHECK(units.size() == candidates.size() * kUnitsPerBlock);
  const auto largest = [&](size_t index, int begin, int end) {
    const float* first = units.data() + index * kUnitsPerBlock;
    return *std::max_element(first + begin, first + end);
  };
  std::vector<float> scores(candidates.size());
  for (size_t i = 0; i < candidates.size(); ++i) {
    scores[i] = largest(i, 0, kUnitsPerBlock);
    const bool has_before = i > 0 && candidates[i - 1] == candidates[i] - 1;
    const bool has_after = i + 1 < candidates.size() && candidates[i + 1] == candidates[i] + 1;
    if (has_before && forward > 0) {
      scores[i] = std::max(scores[i], largest(i - 1, kUnitsPerBlock - forward, kUnitsPerBlock));
    }
    if (has_after && backward > 0) scores[i] = std::max(scores[i], largest(i + 1, 0, backward));
  }
  return scores;
}

namespace {

// The `count` best units with a score, the first of equals.
std::vector<bool> BestUnits(absl::Span<const float> scores, int count) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const size_t best = std::min<size_t>(count, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(best), order.end(),
                    [&](size_t a, size_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  std::vector<bool> chosen(scores.size());
  for (size_t i = 0; i < best; ++i) chosen[order[i]] = scores[order[i]] > 0;
  return chosen;
}

}  // namespace

std::vector<float> SpreadScores(absl::Span<const float> unit_scores, absl::Span<const int32_t> candidates,
                                absl::Span<const int32_t> forced, absl::Span<const UnitLink> unit_links,
                                const PlanLinks& links) {
  SLIMFILL_CHECK(unit_scores.size() == candidates.size() * kUnitsPerBlock);
  std::vector<float> scores(unit_scores.begin(), unit_scores.end());
  // Where a unit of the prompt stands among the candidates' units; -1: it does not take part.
  std::vector<int32_t> place(candidates.empty() ? 0 : (candidates.back() + 1) * kUnitsPerBlock, -1);
  for (size_t i = 0; i < candidates.size(); ++i) {
    const bool takes_part = !Contains(forced, candidates[i]);
    for (int unit = 0; unit < kUnitsPerBlock; ++unit) {
      const size_t index = i * kUnitsPerBlock + unit;
      if (takes_part) place[candidates[i] * kUnitsPerBlock + unit] = static_cast<int32_t>(index);
      if (!takes_part) scores[index] = 0;
    }
  }
  const auto weight = static_cast<float>(links.weight);
  std::vector<UnitLink> inner;
  for (const UnitLink& link : unit_links) {
    if (std::max(link.from, link.to) >= static_cast<int32_t>(place.size())) continue;
    const int32_t from = place[link.from], to = place[link.to];
    if (from >= 0 && to >= 0) inner.push_back({from, to, link.mass * weight});
  }
  for (int hop = 0; hop < links.hops; ++hop) {
    const std::vector<bool> seeds = BestUnits(scores, links.seeds);
    std::vector<float> next = scores;
    for (const UnitLink& link : inner) {
      if (seeds[link.from]) next[link.to] = std::max(next[link.to], scores[link.from] * link.mass);
      if (seeds[link.to]) next[link.from] = std::max(next[link.from], scores[link.to] * link.mass);
    }
    scores = std::move(next);
  }
  return scores;
}

void NormalizeScores(absl::Span<const int32_t> candidates, absl::Span<const int32_t> forced, absl::Span<float> scores) {
  float best = 0, best_of_all = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    best_of_all = std::max(best_of_all, scores[i]);
    if (!Contains(forced, candidates[i])) best = std::max(best, scores[i]);
  }
  if (best == 0) best = best_of_all;
  if (best == 0) return;
  for (float& score : scores) score /= best;
}

void MaxInto(absl::Span<const float> other, absl::Span<float> scores) {
  SLIMFILL_CHECK(other.size() == scores.size());
  for (size_t i = 0; i < scores.size(); ++i) scores[i] = std::max(scores[i], other[i]);
}

namespace {

// `per_block` numbers of each candidate from those of an earlier set; 0 for a block that was not in it.
std::vector<float> Carry(absl::Span<const int32_t> earlier, absl::Span<const float> numbers, int per_block,
                         absl::Span<const int32_t> candidates) {
  std::vector<float> carried(candidates.size() * per_block, 0.0f);
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto found = std::lower_bound(earlier.begin(), earlier.end(), candidates[i]);
    if (found == earlier.end() || *found != candidates[i]) continue;
    const auto* first = numbers.data() + (found - earlier.begin()) * per_block;
    std::copy(first, first + per_block, carried.begin() + static_cast<std::ptrdiff_t>(i) * per_block);
  }
  return carried;
}

}  // namespace

std::vector<float> CarryScores(absl::Span<const int32_t> earlier, absl::Span<const float> earlier_scores,
                               absl::Span<const int32_t> candidates) {
  return Carry(earlier, earlier_scores, 1, candidates);
}

std::vector<float> CarryUnitScores(absl::Span<const int32_t> earlier, absl::Span<const float> earlier_units,
                                   absl::Span<const int32_t> candidates) {
  return Carry(earlier, earlier_units, kUnitsPerBlock, candidates);
}

std::vector<float> RecencyScores(absl::Span<const int32_t> candidates) {
  std::vector<float> scores;
  for (const int32_t block : candidates) {
    scores.push_back(static_cast<float>(block + 1) / static_cast<float>(candidates.back() + 1));
  }
  return scores;
}

std::vector<float> RandomScores(absl::Span<const int32_t> candidates, int64_t seed) {
  std::vector<float> scores;
  for (const int32_t block : candidates) {
    std::mt19937 random(static_cast<uint32_t>(seed * 1000003 + block));
    scores.push_back(static_cast<float>((random() >> 8) + 1) / static_cast<float>(1 << 24));
  }
  return scores;
}

std::vector<float> GivenScores(absl::Span<const int32_t> candidates, absl::Span<const int32_t> given) {
  std::vector<float> scores = RecencyScores(candidates);
  for (size_t i = 0; i < scores.size(); ++i) scores[i] = Contains(given, candidates[i]) ? 1 : scores[i] / 2;
  return scores;
}

std::vector<int32_t> SelectBlocks(absl::Span<const int32_t> candidates, absl::Span<const float> scores,
                                  absl::Span<const int32_t> forced, int64_t keep) {
  SLIMFILL_CHECK(candidates.size() == scores.size());
  std::vector<size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const bool a_forced = Contains(forced, candidates[a]), b_forced = Contains(forced, candidates[b]);
    if (a_forced != b_forced) return a_forced;
    return !a_forced && scores[a] > scores[b];
  });
  order.resize(std::min<size_t>(order.size(), keep));
  std::vector<int32_t> kept;
  kept.reserve(order.size());
  for (const size_t index : order) kept.push_back(candidates[index]);
  std::sort(kept.begin(), kept.end());
  return kept;
}

BlockExchange ChooseExchange(absl::Span<const int32_t> known, absl::Span<const float> scores,
                             absl::Span<const int32_t> forced, absl::Span<const int32_t> active, double overlap,
                             double margin) {
  const std::vector<int32_t> chosen = SelectBlocks(known, scores, forced, static_cast<int64_t>(active.size()));
  BlockExchange exchange;
  std::set_difference(chosen.begin(), chosen.end(), active.begin(), active.end(), std::back_inserter(exchange.wanted));
  std::set_difference(active.begin(), active.end(), chosen.begin(), chosen.end(), std::back_inserter(exchange.leaving));
  const auto score = [&](int32_t block) {
    return scores[std::lower_bound(known.begin(), known.end(), block) - known.begin()];
  };
  std::sort(exchange.wanted.begin(), exchange.wanted.end(), [&](int32_t a, int32_t b) { return score(a) > score(b); });
  std::sort(exchange.leaving.begin(), exchange.leaving.end(),
            [&](int32_t a, int32_t b) { return score(a) < score(b); });
  float best = 0;
  for (size_t i = 0; i < known.size(); ++i) {
    if (!Contains(forced, known[i])) best = std::max(best, scores[i]);
  }
  size_t count = 0;
  while (count < exchange.wanted.size() &&
         score(exchange.wanted[count]) > score(exchange.leaving[count]) + static_cast<float>(margin) * best) {
    ++count;
  }
  if (static_cast<double>(count) <= (1 - overlap) * static_cast<double>(active.size())) count = 0;
  exchange.wanted.resize(count);
  exchange.leaving.resize(count);
  return exchange;
}

float PeakMass(absl::Span<const float> units, absl::Span<const int32_t> candidates, absl::Span<const int32_t> forced) {
  float peak = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (Contains(forced, candidates[i])) continue;
    for (int unit = 0; unit < kUnitsPerBlock; ++unit) peak = std::max(peak, units[i * kUnitsPerBlock + unit]);
  }
  return peak;
}

float NormalizedEntropy(absl::Span<const float> scores, absl::Span<const int32_t> candidates,
                        absl::Span<const int32_t> forced) {
  double sum = 0;
  int count = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (Contains(forced, candidates[i])) continue;
    sum += scores[i];
    ++count;
  }
  if (count < 2 || sum <= 0) return 0;
  double entropy = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (Contains(forced, candidates[i]) || scores[i] <= 0) continue;
    const double p = scores[i] / sum;
    entropy -= p * std::log(p);
  }
  return static_cast<float>(entropy / std::log(static_cast<double>(count)));
}

}  // namespace slimfill::engine
