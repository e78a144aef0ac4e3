#include "engine/stage.h"

#include <algorithm>

#include "engine/ops/backend.h"

namespace slimfill::engine {
namespace {

// Multiply-adds times two, per token, of the linear parts of one layer.
double AttentionLinearFlops(const ModelConfig& config) {
  const double q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  return 2.0 * config.hidden * (q + 2 * kv) + 2.0 * q * config.hidden;
}

double FfnFlops(const ModelConfig& config) { return 6.0 * config.hidden * config.ffn; }

}  // namespace

std::vector<Stage> PrunedStages(const PrunePlan& plan, const std::vector<int64_t>& keep_blocks, int layers) {
  std::vector<Stage> stages;
  int first_layer = 0;
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    stages.push_back({.first_layer = first_layer,
                      .last_layer = plan.stages[i].prune_layer,
                      .pruning = plan.stages[i],
                      .keep_blocks = keep_blocks[i]});
    first_layer = plan.stages[i].prune_layer + 1;
  }
  stages.push_back({.first_layer = first_layer, .last_layer = layers - 1, .final = true});
  return stages;
}

std::vector<Stage> DenseStages(int split_layer, int layers) {
  if (split_layer < 0) return {{.first_layer = 0, .last_layer = layers - 1, .final = true}};
  return {{.first_layer = 0, .last_layer = split_layer},
          {.first_layer = split_layer + 1, .last_layer = layers - 1, .final = true}};
}

PrefillWork ChunkWork(const Stage& stage, const ModelConfig& config, int64_t first_row, int64_t end_row) {
  const double attention = AttentionLinearFlops(config), ffn = FfnFlops(config);
  const double rows = static_cast<double>(end_row - first_row);
  // The final stage skips its last layer's attention and FFN for all but the last token.
  const double attention_layers = stage.last_layer - stage.first_layer + (stage.final ? 0 : 1);
  const double ffn_layers = stage.last_layer - stage.first_layer + (stage.begins_with_ffn() ? 1 : 0);
  const double pairs =
      (static_cast<double>(end_row) * (end_row + 1) - static_cast<double>(first_row) * (first_row + 1)) / 2;
  PrefillWork work;
  work.chunks = std::max(attention_layers, ffn_layers);
  work.token_layers = rows * (attention_layers * attention + ffn_layers * ffn) / (attention + ffn);
  work.pair_layers = pairs * attention_layers;
  return work;
}

PrefillWork StagesWork(const std::vector<Stage>& stages, const ModelConfig& config, int64_t prompt_tokens,
                       int64_t chunk_tokens, int64_t first_row, int64_t later_first_row) {
  PrefillWork total;
  int64_t rows = prompt_tokens;
  for (const Stage& stage : stages) {
    for (int64_t row = first_row; row < rows; row += chunk_tokens) {
      total += ChunkWork(stage, config, row, std::min(row + chunk_tokens, rows));
    }
    first_row = later_first_row;
    if (stage.pruning.has_value()) rows = std::min(rows, stage.keep_blocks * kBlockTokens);
  }
  return total;
}

double Flops(const PrefillWork& work, const ModelConfig& config) {
  const double linear = AttentionLinearFlops(config) + FfnFlops(config);
  return work.token_layers * linear + work.pair_layers * 4.0 * config.heads * config.head_dim;
}

double DenseFlops(int64_t tokens, const ModelConfig& config) {
  return Flops(ChunkWork({.last_layer = config.layers - 1, .final = true}, config, 0, tokens), config);
}

}  // namespace slimfill::engine
