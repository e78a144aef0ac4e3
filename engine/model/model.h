// A model ready to run: its files, configuration, and weights packed by a backend.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/config.h"
#include "engine/model/source.h"
#include "engine/model/weights.h"
#include "engine/ops/backend.h"

namespace slimfill::engine {

struct PackedLayer {
  std::unique_ptr<Buffer> attention_norm;       // f32 [hidden]
  std::unique_ptr<PackedWeight> qkv;            // [qkv_cols, hidden]
  std::unique_ptr<Buffer> qkv_bias;             // f32 [qkv_cols] or null
  std::unique_ptr<Buffer> q_norm, k_norm;       // f32 [head_dim] each, or null
  std::unique_ptr<PackedWeight> attention_out;  // [hidden, q_cols]
  std::unique_ptr<Buffer> ffn_norm;             // f32 [hidden]
  std::unique_ptr<PackedWeight> gate_up;        // [2 * ffn, hidden]
  std::unique_ptr<PackedWeight> ffn_down;       // [hidden, ffn]
};

// Immutable after Load. Everything in backend memory belongs to the backend given, which must outlive the model.
class Model {
 public:
  // `context`: how many positions RoPE is prepared for. `progress(done, total)` is called as matrices are packed.
  // INVALID_ARGUMENT where the weights are not what the configuration asks for, or the context is longer than what the
  // model attends to.
  static absl::StatusOr<std::unique_ptr<Model>> Load(std::unique_ptr<ModelSource> source, Backend& backend,
                                                     int64_t context,
                                                     const std::function<void(int done, int total)>& progress);

  const ModelSource& source() const { return *source_; }
  const ModelConfig& config() const { return source_->config(); }
  const AttentionShape& shape() const { return shape_; }
  const PackedLayer& layer(int index) const { return layers_[index]; }
  const WeightMatrix& embedding() const { return weights_.embedding; }
  const Buffer& output_norm() const { return *output_norm_; }
  const PackedWeight& output() const { return *output_; }
  const Buffer& cos_sin() const { return *cos_sin_; }

 private:
  Model() = default;
  absl::Status PackLayers(Backend& backend, const std::function<void(int, int)>& progress);

  std::unique_ptr<ModelSource> source_;
  AttentionShape shape_;
  ModelWeights weights_;
  std::vector<PackedLayer> layers_;
  std::unique_ptr<Buffer> output_norm_;
  std::unique_ptr<PackedWeight> output_;
  std::unique_ptr<Buffer> cos_sin_;
};

}  // namespace slimfill::engine
