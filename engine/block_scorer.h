// Scores of a stage's candidate blocks, from the queries seen on the way and the keys held.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/types/span.h"
#include "engine/kv/layer_kv.h"
#include "engine/model/forward.h"
#include "engine/model/model.h"
#include "engine/ops/backend.h"
#include "engine/prune/head_scores.h"
#include "engine/prune/plan.h"
#include "engine/prune/policy.h"

namespace slimfill::engine {

// Keeps the post-RoPE queries of the asking tokens, per layer, as the chunks that hold them pass. One per sequence.
class QueryWindow {
 public:
  // `tokens`: the positions whose queries are kept.
  explicit QueryWindow(TokenRange tokens) : tokens_(tokens) {}

  struct Rows {
    std::vector<int32_t> positions;
    std::vector<float> q;  // [positions, heads, head_dim]
  };
  void Capture(int layer, ConstMatrix q, absl::Span<const int32_t> positions, Backend& backend);
  // The last `count` rows kept of a layer (fewer when fewer are asking).
  Rows Last(int layer, int64_t count, int64_t row_floats) const;

  TokenRange tokens() const { return tokens_; }

 private:
  TokenRange tokens_;
  std::map<int, Rows> rows_;
};

struct BlockScores {
  std::vector<float> scores;  // of the candidates, normalised
  float peak = 1;             // largest unit mass outside forced blocks (kHeads; 1 otherwise)
  float entropy = 0;          // of the scores outside forced blocks (kHeads; 0 otherwise)
};

class BlockScorer {
 public:
  BlockScorer(const Model& model, Backend& backend, const PrunePlan& plan)
      : model_(model), backend_(backend), plan_(plan) {}

  struct Input {
    const PlanStage& stage;
    int first_layer;                       // of the stage: scores use layers from here on
    absl::Span<const LayerKv> kv;          // all layers
    absl::Span<const int32_t> candidates;  // blocks that entered the stage
    absl::Span<const int32_t> forced;
    int64_t prompt_tokens;
    int64_t rows_end;  // positions that have been run: the prompt's and, behind it, the probe's
    const QuestionSegment& question;
    const QueryWindow& window;
    absl::Span<const UnitLink> links;        // of the whole prompt; none: scores do not spread
    absl::Span<const int32_t> given_blocks;  // kGiven
    // Of the pruning before; empty at the first.
    absl::Span<const int32_t> earlier_candidates;
    absl::Span<const float> earlier_scores;
  };
  BlockScores Score(const Input& input) const;

  // [layers, heads, blocks * 8]: every head's unit masses in the first `layers` layers, all of whose tokens have been
  // run.
  std::vector<float> AllHeadMasses(absl::Span<const LayerKv> kv, int layers, int64_t prompt_tokens,
                                   const QuestionSegment& question, const QueryWindow& window) const;

 private:
  HeadScores ScoreHeads(const Input& input) const;
  std::vector<float> AttentionScores(const Input& input) const;
  std::vector<float> MeanAttentionScores(const Input& input) const;
  std::vector<float> PaperScores(const Input& input) const;
  std::vector<float> UnitMass(const Input& input, int layer, const std::vector<int>& heads, int64_t window,
                              int unit_tokens, bool mean = false) const;

  const Model& model_;
  Backend& backend_;
  const PrunePlan& plan_;
};

// The block ids of a view.
std::vector<int32_t> BlockIds(KvLayerView view);

}  // namespace slimfill::engine
