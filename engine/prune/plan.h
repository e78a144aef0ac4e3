// A prune plan: at which layers the prompt is pruned, how much is kept, and by which score. Plans are data: built in
// for known models, or read from a JSON file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/config.h"

namespace slimfill::engine {

enum class ScoreKind {
  kPaper,          // SlimInfer: |mean of the last queries . mean key of a unit|, mean over heads
  kAttention,      // softmax mass of the last queries, max over heads and queries, mean over the last layers
  kHeads,          // softmax mass of calibrated retrieval heads, with edge dilation
  kMeanAttention,  // UniPrefill's: softmax mass of the prompt's last queries, mean over heads and queries
  kPrevious,       // the scores of the pruning before
  // Baselines to measure the others against.
  kRecency,  // the later the better
  kRandom,   // drawn anew for every prompt length, the same on every machine
  kGiven,    // the request's given_blocks, then recency: what an oracle would keep
};

struct LayerHead {
  int layer = 0;
  int head = 0;
  friend bool operator==(const LayerHead&, const LayerHead&) = default;
};

// A share for prompts up to so many tokens; the last band has 0: any length.
struct KeepBand {
  int64_t up_to_tokens = 0;
  double ratio = 0;
};

// One pruning: after the attention of `prune_layer`, before its FFN.
struct PlanStage {
  int prune_layer = 0;
  // Kept, one of: share of the prompt's blocks, the same by bands of length, tokens (the paper's form), or as few
  // blocks as have this share of the candidates' scores together, forced ones on top (UniPrefill's form).
  double keep_ratio = 0;
  std::vector<KeepBand> keep_bands;
  int64_t keep_tokens = 0;
  double keep_mass = 0;
  // Prompts where many blocks compete keep more: every block that scores at least `keep_score` of the best one outside
  // the forced blocks, up to `max_ratio` of the prompt's, or what `max_bands` say for its length. 0: what is kept does
  // not depend on the scores.
  double keep_score = 0;
  double max_ratio = 0;
  std::vector<KeepBand> max_bands;
  ScoreKind score = ScoreKind::kAttention;
  std::vector<LayerHead> heads;  // kHeads: all at layers of this stage or just before, <= prune_layer

  double RatioFor(int64_t prompt_tokens) const;  // 0 with keep_tokens and keep_mass
  double MaxRatioFor(int64_t prompt_tokens) const;
};

// Where a token's own attention leads, far behind it, its unit is linked to the one looked at. Scores spread along
// these links, both ways: what the best units look back to, or what looks back at them, is needed with them (a value
// handed on, the second half of a question answered in two places), though the question's own queries do not see it.
struct PlanLinks {
  std::vector<LayerHead> heads;  // whose attention makes the links; all at layers that every token passes. Empty: none
  double weight = 0.8;           // of what comes by a link, each time
  int hops = 3;                  // links followed from what the question finds
  int seeds = 16;                // units whose links are followed in a hop: the best
  friend bool operator==(const PlanLinks&, const PlanLinks&) = default;
};

struct LocalBlocks {
  int64_t up_to_tokens = 0;  // prompts up to this long; the last entry has 0: any length
  int blocks = 0;
};

struct PrunePlan {
  std::string name;
  std::vector<PlanStage> stages;
  PlanLinks links;                // of all stages with score kHeads
  int query_window = 64;          // kHeads: at most this many of the question's queries
  int attention_window = 32;      // kAttention, kMeanAttention
  int attention_layers = 4;       // kAttention: the last A layers up to the prune layer
  int paper_window = 4;           // kPaper
  bool paper_absolute = true;     // kPaper: absolute value of the dot product
  int dilate_forward_units = 2;   // kHeads: a block also gets the last units of the block before ...
  int dilate_backward_units = 1;  // ... and the first unit of the block after
  int sink_blocks = 1;
  std::vector<LocalBlocks> local_blocks = {{4096, 4}, {0, 8}};
  int budgeted_local_blocks = 2;  // local blocks beyond these, and the question's, are kept on top of the budget
  int min_blocks = 4;
  // Decode: blocks are exchanged when less than `swap_overlap` of the active ones would be chosen again, and one comes
  // in only for one that scores lower by `swap_margin` (of the best score): the tail of a ranking is noise.
  double swap_overlap = 0.9;
  double swap_margin = 0.1;

  // Safety (kHeads at the first stage). Peak: the largest unit mass among blocks that are not forced; below it the
  // first pruning is put off to `retry`. Entropy of the block scores, normalised to 1 = uniform; above it the prompt
  // runs dense.
  double min_peak = 0;
  double max_entropy = 1;
  std::optional<PlanStage> retry;
  // Whether prompts are pruned whose question stands before its document (AUTO): docs/evaluation.md has what it costs.
  bool prune_question_first = true;

  int LocalBlocksFor(int64_t prompt_tokens) const;
  bool Uses(ScoreKind score) const;  // in a stage
};

// Heads whose attention makes links; none without a plan.
std::vector<LayerHead> LinkHeads(const PrunePlan* plan);

// Fast: as much speed as keeps answers as a rule. Safe: answers as good as dense where that can be had by pruning less.
enum class PlanVariant { kFast, kSafe };

// The plan built in for a model of this shape, or the calibration-free one (score kAttention, first pruning at about
// half depth), named "uncalibrated". A plan that has no variants serves as both.
PrunePlan BuiltinPlan(const ModelConfig& config, PlanVariant variant = PlanVariant::kFast);
std::vector<PrunePlan> BuiltinPlans(const ModelConfig& config);  // all that fit the model
PrunePlan UncalibratedPlan(const ModelConfig& config);

// Plan files: see docs/plans.md. INVALID_ARGUMENT naming key, value and what is allowed; also for a plan that says it
// is for a model of another shape.
absl::StatusOr<PrunePlan> ParsePlan(absl::string_view json, const ModelConfig& config);
std::string PlanToJson(const PrunePlan& plan);
// The shape that a plan file may name as its model's, as JSON.
std::string ModelShapeJson(const ModelConfig& config);

// Checks a plan against a model: layers increasing and inside the model, heads inside it, ratios in (0, 1] not
// increasing.
absl::Status CheckPlan(const PrunePlan& plan, const ModelConfig& config);

}  // namespace slimfill::engine
