// Stages: the spans of the forward pass between two prunings, and the work they are. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/engine.h"
#include "engine/model/config.h"
#include "engine/prune/plan.h"

namespace slimfill::engine {

// A stage begins with the FFN of the layer where the one before ended (the first: with the embedding), runs the layers
// up to `last_layer`'s attention and, unless it is the final one, ends there: borders fall mid-layer.
struct Stage {
  int first_layer = 0;  // the first whose attention runs here
  int last_layer = 0;
  bool final = false;                // runs last_layer's FFN too, for the last token, and gives the logits
  std::optional<PlanStage> pruning;  // at the end; none: all tokens go on
  int64_t keep_blocks = 0;           // with pruning

  bool begins_with_ffn() const { return first_layer > 0; }
};

// The stages of a plan over a model of `layers` layers. An entry of `keep_blocks` per plan stage.
std::vector<Stage> PrunedStages(const PrunePlan& plan, const std::vector<int64_t>& keep_blocks, int layers);

// Dense: one stage, or two split after the attention of `split_layer` (>= 0) so that stored prefixes serve it too.
std::vector<Stage> DenseStages(int split_layer, int layers);

// Work of running rows [first_row, end_row) of a stage whose rows 0.. are its tokens in order: row i attends to i + 1
// keys.
PrefillWork ChunkWork(const Stage& stage, const ModelConfig& config, int64_t first_row, int64_t end_row);

// Work of whole stages cut into chunks, for `prompt_tokens` rows that enter the first, from its row `first_row` on and
// from row `later_first_row` of the others.
PrefillWork StagesWork(const std::vector<Stage>& stages, const ModelConfig& config, int64_t prompt_tokens,
                       int64_t chunk_tokens, int64_t first_row, int64_t later_first_row = 0);

// Floating-point operations of a piece of work.
double Flops(const PrefillWork& work, const ModelConfig& config);
// Of a dense prefill of so many tokens, from the first.
double DenseFlops(int64_t tokens, const ModelConfig& config);

}  // namespace slimfill::engine
