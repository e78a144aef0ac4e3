// What calibration and evaluation ask of an engine beyond serving.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/engine.h"

namespace slimfill::engine {

// Every head's scores of the prompt's blocks, as a pruning by that head would see them; for calibration.
struct AllHeadScores {
  int layers = 0, heads = 0;
  int64_t blocks = 0;
  std::vector<float> scores;    // [layers, heads, blocks]: dilated unit masses (ScoreKind::kHeads), not normalised
  std::vector<float> peaks;     // [layers, heads]: largest unit mass outside forced blocks
  std::vector<int32_t> forced;  // blocks that any pruning keeps

  absl::Span<const float> Of(int layer, int head) const {
    return absl::MakeConstSpan(scores).subspan((static_cast<int64_t>(layer) * heads + head) * blocks, blocks);
  }
  float Peak(int layer, int head) const { return peaks[layer * heads + head]; }
};

class StudyEngine : public Engine {
 public:
  // Runs the prompt densely through the first `layers` layers and scores its blocks by each of their heads, with the
  // windows of the request's plan (or the engine's). INVALID_ARGUMENT unless 0 < layers < the model's.
  virtual absl::StatusOr<AllHeadScores> ScoreHeads(SequenceRequest request, int layers) = 0;
  // Back to the end of the prompt: what was generated is forgotten, the next decode step gives a first token again,
  // with `sampling`. Blocks that decode exchanged meanwhile stay. INVALID_ARGUMENT for bad parameters, or more
  // max_tokens than the request had. REQUIRES: through prefill.
  virtual absl::Status Restart(Sequence& sequence, const SamplingParams& sampling) = 0;
};

}  // namespace slimfill::engine
