// What calibration and evaluation ask of an engine beyond serving.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/engine.h"
#include "engine/ops/backend.h"
#include "engine/prune/plan.h"
#include "engine/prune/policy.h"

namespace slimfill::engine {

// What every head does with a prompt; for calibration.
struct HeadStudy {
  static constexpr int kLinksPerUnit = 2;

  int layers = 0, heads = 0, link_layers = 0;
  int64_t blocks = 0;
  std::vector<int32_t> forced;  // blocks that any pruning keeps
  std::vector<float> units;     // [layers, heads, blocks * 8]: masses as a pruning by the head sees them
  // [link_layers, heads, blocks * 8, kLinksPerUnit]: where the unit's tokens look back to by the head, those with the
  // most mass, all different.
  std::vector<FarLook> looks;

  absl::Span<const float> Units(LayerHead head) const;
  void AppendLinks(LayerHead head, std::vector<UnitLink>& links) const;
};

class StudyEngine : public Engine {
 public:
  // Runs the prompt densely through the first `layers` layers and looks at each of their heads, with the windows of the
  // request's plan (or the engine's), and at the links that those of the first `link_layers` make. INVALID_ARGUMENT
  // unless 0 < layers < the model's, 0 <= link_layers <= layers and the question stands behind its document.
  virtual absl::StatusOr<HeadStudy> StudyHeads(SequenceRequest request, int layers, int link_layers) = 0;
  // Back to the end of the prompt: what was generated is forgotten, the next decode step gives a first token again,
  // with `sampling`. Blocks that decode exchanged meanwhile stay. INVALID_ARGUMENT for bad parameters, or more
  // max_tokens than the request had. REQUIRES: through prefill.
  virtual absl::Status Restart(Sequence& sequence, const SamplingParams& sampling) = 0;
};

}  // namespace slimfill::engine
