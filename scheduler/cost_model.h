// How long prefill work takes on this machine: seconds = a * chunks + b * token_layers + c * pair_layers, fitted to the
// chunks that ran by exponentially forgetting non-negative least squares on relative errors.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "engine/engine.h"

namespace slimfill::scheduler {

// Not thread safe.
class CostModel {
 public:
  static constexpr int kMinChunks = 8;  // before the first prediction
  static constexpr int kMinJudged = 8;  // predictions compared with what happened, before error() says anything
  static constexpr double kTrustedError = 0.10;  // above it nothing derived from the model is published

  // Compares the chunk with what would have been predicted, then learns from it. Chunks without work or with a time
  // that is not positive teach nothing.
  void Observe(const engine::PrefillWork& work, double seconds);

  // Absent until enough chunks were seen.
  std::optional<double> PredictSeconds(const engine::PrefillWork& work) const;

  // Mean absolute relative error of predictions made before the chunk was seen, recent ones weighing most.
  std::optional<double> error() const;
  bool trusted() const;

 private:
  static constexpr int kTerms = 3;
  using Vector = std::array<double, kTerms>;
  void Fit();

  // Normal equations of: minimise the sum of (1 - coefficients . work / seconds)^2.
  std::array<Vector, kTerms> gram_{};
  Vector moment_{};
  Vector coefficients_{};
  int64_t chunks_ = 0;

  double error_sum_ = 0, error_weight_ = 0;
  int64_t judged_ = 0;
};

}  // namespace slimfill::scheduler
