#include "engine/block_scorer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/status.h"
#include "engine/unit_keys.h"

namespace slimfill::engine {
namespace {

std::vector<int> AllHeads(const AttentionShape& shape) {
  std::vector<int> heads(shape.heads);
  std::iota(heads.begin(), heads.end(), 0);
  return heads;
}

// The unit masses of each of `heads` heads, which lie one behind another in `mass`.
void AppendHeads(const std::vector<float>& mass, size_t heads, const std::vector<int32_t>& blocks,
                 std::vector<HeadMass>& out) {
  const size_t units = blocks.size() * kUnitsPerBlock;
  for (size_t head = 0; head < heads; ++head) {
    out.push_back({absl::MakeConstSpan(mass).subspan(head * units, units), blocks});
  }
}

}  // namespace

void QueryWindow::Capture(int layer, ConstMatrix q, absl::Span<const int32_t> positions, Backend& backend) {
  const auto first = std::lower_bound(positions.begin(), positions.end(), tokens_.first);
  const auto end = std::lower_bound(positions.begin(), positions.end(), tokens_.second);
  if (first == end) return;
  Rows& rows = rows_[layer];
  rows.positions.insert(rows.positions.end(), first, end);
  const size_t old_size = rows.q.size();
  rows.q.resize(old_size + (end - first) * q.cols);
  backend.ReadRows(q.Rows(first - positions.begin(), end - first), absl::MakeSpan(rows.q).subspan(old_size));
}

QueryWindow::Rows QueryWindow::Last(int layer, int64_t count, int64_t row_floats) const {
  const auto found = rows_.find(layer);
  if (found == rows_.end()) return {};
  const Rows& all = found->second;
  const int64_t skip = std::max<int64_t>(0, static_cast<int64_t>(all.positions.size()) - count);
  return {{all.positions.begin() + skip, all.positions.end()}, {all.q.begin() + skip * row_floats, all.q.end()}};
}

std::vector<int32_t> BlockIds(KvLayerView view) {
  std::vector<int32_t> ids;
  ids.reserve(view.size());
  for (const KvBlock& entry : view) ids.push_back(entry.block);
  return ids;
}

BlockScores BlockScorer::Score(const Input& input) const {
  BlockScores result;
  switch (input.stage.score) {
    case ScoreKind::kHeads: {
      HeadScores found = ScoreHeads(input);
      result = {std::move(found.scores), found.peak, found.entropy};
      break;
    }
    case ScoreKind::kAttention:
      result.scores = AttentionScores(input);
      break;
    case ScoreKind::kMeanAttention:
      result.scores = MeanAttentionScores(input);
      break;
    case ScoreKind::kPaper:
      result.scores = PaperScores(input);
      break;
    case ScoreKind::kPrevious:
      result.scores = CarryScores(input.earlier_candidates, input.earlier_scores, input.candidates);
      break;
    case ScoreKind::kRecency:
      result.scores = RecencyScores(input.candidates);
      break;
    case ScoreKind::kRandom:
      result.scores = RandomScores(input.candidates, input.prompt_tokens);
      break;
    case ScoreKind::kGiven:
      result.scores = GivenScores(input.candidates, input.given_blocks);
      break;
  }
  NormalizeScores(input.candidates, input.forced, absl::MakeSpan(result.scores));
  // Attention mass is erratic from layer to layer: what an earlier pruning saw still counts.
  if (input.stage.score == ScoreKind::kAttention && !input.earlier_scores.empty()) {
    MaxInto(CarryScores(input.earlier_candidates, input.earlier_scores, input.candidates),
            absl::MakeSpan(result.scores));
  }
  return result;
}

std::vector<float> BlockScorer::UnitMass(const Input& input, int layer, const std::vector<int>& heads, int64_t window,
                                         int unit_tokens, bool mean) const {
  const KvLayerView view = input.kv[layer].view();
  const QueryWindow::Rows rows = input.window.Last(layer, window, model_.shape().q_cols());
  std::vector<uint8_t> excluded;
  if (input.rows_end > input.prompt_tokens) {
    // The probe says again what the question said: its first copy would take attention that is the document's.
    const int64_t first = input.question.tokens.first / kBlockTokens, end = BlockCount(input.question.tokens.second);
    for (const KvBlock& entry : view) excluded.push_back(entry.block >= first && entry.block < end);
  }
  std::vector<float> mass(heads.size() * view.size() * (kBlockTokens / unit_tokens));
  MassQuery query;
  query.q = rows.q;
  query.positions = rows.positions;
  query.heads = heads;
  query.excluded = excluded;
  query.end_position = static_cast<int32_t>(input.rows_end);
  query.unit_tokens = unit_tokens;
  query.mean = mean;
  backend_.AttentionMass(query, model_.shape(), view, absl::MakeSpan(mass));
  return mass;
}

HeadScores BlockScorer::ScoreHeads(const Input& input) const {
  std::map<int, std::vector<int>> heads_by_layer;
  for (const LayerHead& head : input.stage.heads) heads_by_layer[head.layer].push_back(head.head);
  struct Layer {
    std::vector<int32_t> blocks;
    std::vector<float> mass;
  };
  std::vector<Layer> layers;
  std::vector<HeadMass> masses;
  layers.reserve(heads_by_layer.size());  // masses point into it
  for (const auto& [layer, heads] : heads_by_layer) {
    const Layer& seen = layers.emplace_back(
        Layer{BlockIds(input.kv[layer].view()), UnitMass(input, layer, heads, plan_.query_window, kUnitTokens)});
    AppendHeads(seen.mass, heads.size(), seen.blocks, masses);
  }
  return ScoreByHeads(plan_, masses, input.candidates, input.forced, input.links);
}

std::vector<float> BlockScorer::AllHeadMasses(absl::Span<const LayerKv> kv, int layers, int64_t prompt_tokens,
                                              const QuestionSegment& question, const QueryWindow& window) const {
  const PlanStage no_stage;
  const Input input{.stage = no_stage,
                    .first_layer = 0,
                    .kv = kv,
                    .prompt_tokens = prompt_tokens,
                    .rows_end = prompt_tokens,
                    .question = question,
                    .window = window};
  const std::vector<int> heads = AllHeads(model_.shape());
  std::vector<float> masses;
  for (int layer = 0; layer < layers; ++layer) {
    const std::vector<float> mass = UnitMass(input, layer, heads, plan_.query_window, kUnitTokens);
    masses.insert(masses.end(), mass.begin(), mass.end());
  }
  return masses;
}

// No calibration needed: block mass, the largest over heads and queries, averaged over the last layers of the stage.
std::vector<float> BlockScorer::AttentionScores(const Input& input) const {
  const int last = input.stage.prune_layer;
  const int first = std::max(input.first_layer, last - plan_.attention_layers + 1);
  const std::vector<int> heads = AllHeads(model_.shape());
  std::vector<float> scores(input.candidates.size(), 0.0f);
  for (int layer = first; layer <= last; ++layer) {
    const std::vector<int32_t> blocks = BlockIds(input.kv[layer].view());
    const std::vector<float> mass = UnitMass(input, layer, heads, plan_.attention_window, kBlockTokens);
    std::vector<float> best(blocks.size(), 0.0f);
    for (size_t h = 0; h < heads.size(); ++h) {
      MaxInto(absl::MakeConstSpan(mass).subspan(h * blocks.size(), blocks.size()), absl::MakeSpan(best));
    }
    const std::vector<float> layer_scores = CarryScores(blocks, best, input.candidates);
    for (size_t i = 0; i < scores.size(); ++i) scores[i] += layer_scores[i] / static_cast<float>(last - first + 1);
  }
  return scores;
}

// UniPrefill's rule: block mass at the prune layer, mean over all heads and the last queries.
std::vector<float> BlockScorer::MeanAttentionScores(const Input& input) const {
  const std::vector<int32_t> blocks = BlockIds(input.kv[input.stage.prune_layer].view());
  const std::vector<int> heads = AllHeads(model_.shape());
  const std::vector<float> mass =
      UnitMass(input, input.stage.prune_layer, heads, plan_.attention_window, kBlockTokens, /*mean=*/true);
  std::vector<float> scores(blocks.size(), 0.0f);
  for (size_t i = 0; i < mass.size(); ++i) {
    scores[i % blocks.size()] += mass[i] / static_cast<float>(heads.size());
  }
  return CarryScores(blocks, scores, input.candidates);
}

// SlimInfer's score: see unit_keys.h.
std::vector<float> BlockScorer::PaperScores(const Input& input) const {
  const int layer = input.stage.prune_layer;
  const AttentionShape& shape = model_.shape();
  const KvLayerView view = input.kv[layer].view();
  const std::vector<int32_t> blocks = BlockIds(view);
  const QueryWindow::Rows rows = input.window.Last(layer, plan_.paper_window, shape.q_cols());
  std::vector<float> mean(shape.q_cols(), 0.0f);
  for (size_t i = 0; i < rows.q.size(); ++i)
    mean[i % mean.size()] += rows.q[i] / static_cast<float>(rows.positions.size());
  UnitKeys units(blocks, static_cast<int32_t>(input.prompt_tokens), shape, view, backend_);
  return CarryScores(blocks, units.PaperScores(mean, plan_.paper_absolute), input.candidates);
}

}  // namespace slimfill::engine
