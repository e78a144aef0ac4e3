#include "engine/prune/plan.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill::engine {
namespace {

// The ratio of the band that a prompt falls into; `ratio` without bands.
double BandRatio(const std::vector<KeepBand>& bands, double ratio, int64_t prompt_tokens) {
  for (const KeepBand& band : bands) {
    if (band.up_to_tokens == 0 || prompt_tokens <= band.up_to_tokens) return band.ratio;
  }
  return bands.empty() ? ratio : bands.back().ratio;
}

}  // namespace

double PlanStage::RatioFor(int64_t prompt_tokens) const { return BandRatio(keep_bands, keep_ratio, prompt_tokens); }

double PlanStage::MaxRatioFor(int64_t prompt_tokens) const { return BandRatio(max_bands, max_ratio, prompt_tokens); }

bool PrunePlan::Uses(ScoreKind score) const {
  return std::any_of(stages.begin(), stages.end(), [score](const PlanStage& stage) { return stage.score == score; });
}

int PrunePlan::LocalBlocksFor(int64_t prompt_tokens) const {
  for (const LocalBlocks& band : local_blocks) {
    if (band.up_to_tokens == 0 || prompt_tokens <= band.up_to_tokens) return band.blocks;
  }
  return local_blocks.empty() ? 2 : local_blocks.back().blocks;
}

std::vector<LayerHead> LinkHeads(const PrunePlan* plan) {
  return plan == nullptr ? std::vector<LayerHead>() : plan->links.heads;
}

namespace {

// A ratio, or ratios by bands of length.
absl::Status CheckBands(const std::string& where, const char* key, std::vector<KeepBand> bands, double ratio) {
  if (ratio != 0) bands.push_back({0, ratio});
  for (size_t i = 0; i < bands.size(); ++i) {
    if (!(bands[i].ratio > 0 && bands[i].ratio <= 1)) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": ", key, " is ", bands[i].ratio, ", must be in (0, 1]"));
    }
    const bool last = i + 1 == bands.size();
    const int64_t least = i == 0 ? 1 : bands[i - 1].up_to_tokens + 1;
    if (last ? bands[i].up_to_tokens != 0 : bands[i].up_to_tokens < least) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": ", key, "'s up_to_tokens must increase, and be 0 (any length) in the last band"));
    }
  }
  return absl::OkStatus();
}

// Whether the model has the head, at `last_layer` or before it.
bool HasHead(const ModelConfig& config, const LayerHead& head, int last_layer) {
  return head.layer >= 0 && head.layer <= last_layer && head.head >= 0 && head.head < config.heads;
}

absl::Status CheckStage(const PlanStage& stage, const ModelConfig& config) {
  const std::string where = absl::StrCat("plan stage at layer ", stage.prune_layer);
  if (stage.prune_layer < 0 || stage.prune_layer >= config.layers - 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": prune_layer must be in [0, ", config.layers - 2, "] for this model"));
  }
  const int given =
      (stage.keep_ratio != 0) + !stage.keep_bands.empty() + (stage.keep_tokens != 0) + (stage.keep_mass != 0);
  if (given != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": give exactly one of keep_ratio, keep_tokens and keep_mass"));
  }
  if (stage.keep_mass != 0 && !(stage.keep_mass > 0 && stage.keep_mass <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": keep_mass is ", stage.keep_mass, ", must be in (0, 1]"));
  }
  SLIMFILL_RETURN_IF_ERROR(CheckBands(where, "keep_ratio", stage.keep_bands, stage.keep_ratio));
  SLIMFILL_RETURN_IF_ERROR(CheckBands(where, "max_ratio", stage.max_bands, stage.max_ratio));
  if (stage.keep_tokens < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": keep_tokens is ", stage.keep_tokens, ", must be positive"));
  }
  const bool has_most = stage.max_ratio != 0 || !stage.max_bands.empty();
  if (!(stage.keep_score >= 0 && stage.keep_score <= 1) || (stage.keep_score > 0) != has_most) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": keep_score is ", stage.keep_score,
                                                   ", must be in (0, 1], and goes together with max_ratio"));
  }
  if ((stage.score == ScoreKind::kHeads) == stage.heads.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": heads go with score \"heads\", and only with it"));
  }
  for (const LayerHead& head : stage.heads) {
    if (!HasHead(config, head, stage.prune_layer)) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": head (", head.layer, ",", head.head,
                                                     ") is not at or before this layer, or not one of the model's ",
                                                     config.heads, " heads"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRange(const char* key, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("plan ", key, " is ", value, ", must be in [", low, ", ", high, "]"));
}

absl::Status CheckLinks(const PrunePlan& plan, const ModelConfig& config) {
  const int last_layer = plan.stages.front().prune_layer;
  if (plan.links.heads.size() > 8) return absl::InvalidArgumentError("plan links: give at most 8 heads");
  for (const LayerHead& head : plan.links.heads) {
    if (!HasHead(config, head, last_layer)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "plan links: head (", head.layer, ",", head.head, ") is not at or before the first pruning's layer ",
          last_layer, ", which every token passes, or not one of the model's ", config.heads, " heads"));
    }
  }
  SLIMFILL_RETURN_IF_ERROR(CheckRange("links weight", plan.links.weight, 0, 1));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("links hops", plan.links.hops, 1, 16));
  return CheckRange("links seeds", plan.links.seeds, 1, 1024);
}

}  // namespace

absl::Status CheckPlan(const PrunePlan& plan, const ModelConfig& config) {
  if (plan.stages.empty()) return absl::InvalidArgumentError("plan has no stages: use --plan off to run dense");
  int last_layer = -1;
  for (const PlanStage& stage : plan.stages) {
    SLIMFILL_RETURN_IF_ERROR(CheckStage(stage, config));
    if (stage.prune_layer <= last_layer)
      return absl::InvalidArgumentError("plan stages must have increasing prune_layer");
    // A head's keys are complete only for layers that every token of the stage has passed.
    for (const LayerHead& head : stage.heads) {
      if (head.layer <= last_layer) {
        return absl::InvalidArgumentError(absl::StrCat("plan stage at layer ", stage.prune_layer, ": head layer ",
                                                       head.layer, " is not after the pruning at layer ", last_layer));
      }
    }
    last_layer = stage.prune_layer;
  }
  if (plan.stages.front().score == ScoreKind::kPrevious) {
    return absl::InvalidArgumentError("the first plan stage cannot use score \"previous\": there is none before it");
  }
  if (plan.retry.has_value()) {
    SLIMFILL_RETURN_IF_ERROR(CheckStage(*plan.retry, config));
    if (plan.retry->prune_layer <= plan.stages.front().prune_layer) {
      return absl::InvalidArgumentError("plan retry must come after the first stage's prune_layer");
    }
  }
  SLIMFILL_RETURN_IF_ERROR(CheckLinks(plan, config));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("query_window", plan.query_window, 1, 64));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("attention_window", plan.attention_window, 1, 128));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("attention_layers", plan.attention_layers, 1, config.layers));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("paper_window", plan.paper_window, 1, 64));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("dilate_forward_units", plan.dilate_forward_units, 0, 8));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("dilate_backward_units", plan.dilate_backward_units, 0, 8));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("sink_blocks", plan.sink_blocks, 0, 64));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("min_blocks", plan.min_blocks, 1, 4096));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("swap_overlap", plan.swap_overlap, 0, 1));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("swap_margin", plan.swap_margin, 0, 1));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("min_peak", plan.min_peak, 0, 1));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("max_entropy", plan.max_entropy, 0, 1));
  for (const LocalBlocks& band : plan.local_blocks) {
    SLIMFILL_RETURN_IF_ERROR(CheckRange("local_blocks", band.blocks, 1, 1024));
  }
  return absl::OkStatus();
}

}  // namespace slimfill::engine
