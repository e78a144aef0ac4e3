// Prefill of one sequence, chunk by chunk: stage-major, with a pruning between stages.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/block_scorer.h"
#include "engine/kv/prefix_cache.h"
#include "engine/model/forward.h"
#include "engine/prune/plan.h"
#include "engine/sequence.h"

namespace slimfill::engine {

// Borrows everything; engine thread only.
class Prefill {
 public:
  struct Parts {
    const Model& model;
    Backend& backend;
    Forward& forward;
    const PrunePlan* plan;      // null: dense only
    PrefixCache* prefix_cache;  // null: no reuse
    KvStreamer& streamer;
    const Tokenizer& tokenizer;
    int64_t chunk_tokens;
    int64_t max_context;
    bool hot_prefixes;          // dense prefills store all layers, and what is stored so is used
    absl::Duration match_wait;  // to hear whether a prefix is stored
  };
  explicit Prefill(const Parts& parts) : p_(parts) {}

  // Decides stages and budgets, reserves the residual rows and loads a stored prefix within `load_budget`.
  absl::Status Begin(PrunedSequence& sequence, absl::Duration load_budget);

  // Runs the next chunk. True when the prompt is through: `logits` [vocab] then holds the last token's.
  absl::StatusOr<bool> RunChunk(PrunedSequence& sequence, PrefillWork& work, std::vector<float>& logits);

 private:
  void PlanStages(PrunedSequence& sequence);
  void PlanDense(PrunedSequence& sequence);
  void FallBackToDense(PrunedSequence& sequence, const char* reason);
  bool AppendProbe(PrunedSequence& sequence) const;
  void DropProbe(PrunedSequence& sequence) const;
  TokenRange WindowTokens(const PrunedSequence& sequence) const;
  std::vector<LayerHead> HeadsToRecord(const PrunedSequence& sequence) const;
  bool MayUseStore(const PrunedSequence& sequence) const;
  void LoadPrefix(PrunedSequence& sequence, absl::Duration budget);
  int64_t LoadHot(PrunedSequence& sequence, const StoredPrefix& stored, absl::Time deadline);
  bool MayRunHot(const PrunedSequence& sequence) const;
  bool RunsHot(const PrunedSequence& sequence, const StoredPrefix& stored, int64_t hot_blocks) const;
  int64_t ReusableBlocks(const PrunedSequence& sequence) const;
  Matrix HiddenRows(PrunedSequence& sequence, int64_t first, int64_t count) const;
  Matrix AllHiddenRows(PrunedSequence& sequence) const;  // of whole blocks

  absl::Status RunLayers(PrunedSequence& sequence, const Stage& stage, int64_t first, int64_t end);
  void StorePrefix(PrunedSequence& sequence, const Stage& stage, int64_t first, int64_t end);
  absl::Status EndStage(PrunedSequence& sequence);
  void PruneStage(PrunedSequence& sequence, const Stage& stage);
  bool FallBack(PrunedSequence& sequence, const BlockScores& scores);
  void Prune(PrunedSequence& sequence, const Stage& stage, const std::vector<int32_t>& candidates,
             const BlockScores& scores);
  void PrepareSwaps(PrunedSequence& sequence, const Stage& stage, const BlockScores& scores);
  void UpdateWorkTotal(PrunedSequence& sequence);

  const Parts p_;
};

}  // namespace slimfill::engine
