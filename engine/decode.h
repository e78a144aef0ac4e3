// Decode: one token for each of several sequences, batched; at prune layers the active KV follows the question.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/metrics.h"
#include "engine/model/forward.h"
#include "engine/prune/plan.h"
#include "engine/sequence.h"

namespace slimfill::engine {

// Borrows everything; engine thread only.
class Decode {
 public:
  struct Parts {
    const Model& model;
    Backend& backend;
    Forward& forward;
    Metrics& metrics;
    int64_t max_context;
    absl::Duration swap_wait;
  };
  explicit Decode(const Parts& parts) : p_(parts) {}

  // Samples from `logits` [vocab] (overwritten) and moves the sequence on by that token.
  absl::StatusOr<TokenEvent> Sample(PrunedSequence& sequence, absl::Span<float> logits);

  // Feeds each sequence's last token and samples the next. REQUIRES: at most forward.max_rows() sequences.
  std::vector<absl::StatusOr<TokenEvent>> Step(absl::Span<PrunedSequence* const> sequences);

 private:
  absl::Status RunLayers(absl::Span<PrunedSequence* const> sequences, absl::Span<const int32_t> positions,
                         Matrix hidden);
  // The token after each row of `hidden`. An error is of the whole step, not of one sequence.
  absl::Status SampleAll(absl::Span<PrunedSequence* const> sequences, Matrix hidden,
                         std::vector<absl::StatusOr<TokenEvent>>& results);
  // The most likely tokens after each row of logits, as many as any of the sequences needs.
  struct Tops {
    int64_t count = 0;  // of each row; 0: nothing was read
    RowTops rows;       // without values and masses where only the most likely token is needed
    TopTokens Of(size_t row) const;
  };
  absl::StatusOr<Tops> ReadTops(absl::Span<PrunedSequence* const> sequences, ConstMatrix logits);
  TokenEvent Emit(PrunedSequence& sequence, SampledToken sampled) const;
  // Applies the exchange that the step before asked for.
  void FinishSwap(PrunedSequence& sequence, int layer, SwapState& swap);
  // Scores the layer's blocks by the newest queries and asks for blocks that should be active and are not.
  void BeginSwap(PrunedSequence& sequence, int layer, SwapState& swap, std::vector<float> q);
  std::vector<float> SwapScores(const PrunePlan& plan, const SwapState& swap) const;

  const Parts p_;
  std::unique_ptr<Buffer> hidden_;
  std::vector<float> logits_;  // of one row
};

}  // namespace slimfill::engine
