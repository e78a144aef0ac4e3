#include "engine/model/model.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill::engine {
namespace {

// Angles in f32, as the models were trained: position times theta^(-2i/d), the latter divided by the model's own
// divisor where it has one (Llama 3.1).
void FillCosSin(const ModelConfig& config, int64_t position, float* row) {
  const int half = config.head_dim / 2;
  for (int i = 0; i < half; ++i) {
    float frequency = 1.0f / std::pow(config.rope_theta, static_cast<float>(2 * i) / config.head_dim);
    if (!config.rope_frequency_divisors.empty()) frequency /= config.rope_frequency_divisors[i];
    const float angle = static_cast<float>(position) * frequency;
    row[i] = std::cos(angle);
    row[half + i] = std::sin(angle);
  }
}

// What a model may be, but the backends do not compute.
absl::Status CheckServable(const ModelSource& source, int64_t context) {
  const ModelConfig& config = source.config();
  if (config.head_dim % 16 != 0 || config.head_dim > kMaxHeadDim) {
    return absl::InvalidArgumentError(absl::StrCat(source.path(), ": the head dimension ", config.head_dim,
                                                   " is not supported, multiples of 16 up to ", kMaxHeadDim,
                                                   " are: use another model"));
  }
  if (config.sliding_window > 0 && context > config.sliding_window) {
    return absl::InvalidArgumentError(absl::StrCat(
        source.path(), ": the model attends to the last ", config.sliding_window, " tokens only, a context of ",
        context, " is asked for: sliding windows are not supported, start with --max-context ", config.sliding_window));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Load(std::unique_ptr<ModelSource> source, Backend& backend,
                                                   int64_t context, const std::function<void(int, int)>& progress) {
  SLIMFILL_RETURN_IF_ERROR(CheckServable(*source, context));
  std::unique_ptr<Model> model(new Model());
  model->source_ = std::move(source);
  const ModelConfig& config = model->config();
  SLIMFILL_ASSIGN_OR_RETURN(model->weights_, ReadModelWeights(model->source_->tensors(), config));
  model->shape_ = {config.heads, config.kv_heads, config.head_dim};

  std::vector<float> cos_sin(context * config.head_dim);
  for (int64_t position = 0; position < context; ++position) {
    FillCosSin(config, position, cos_sin.data() + position * config.head_dim);
  }
  SLIMFILL_ASSIGN_OR_RETURN(model->cos_sin_, backend.Upload(cos_sin));
  SLIMFILL_RETURN_IF_ERROR(model->PackLayers(backend, progress));
  return model;
}

absl::Status Model::PackLayers(Backend& backend, const std::function<void(int, int)>& progress) {
  const int layers = config().layers;
  const int total = layers + 1;
  for (int index = 0; index < layers; ++index) {
    const LayerWeights& from = weights_.layers[index];
    PackedLayer to;
    SLIMFILL_ASSIGN_OR_RETURN(to.attention_norm, backend.Upload(from.attention_norm));
    SLIMFILL_ASSIGN_OR_RETURN(to.qkv, backend.PackWeight(from.qkv));
    if (!from.qkv_bias.empty()) {
      SLIMFILL_ASSIGN_OR_RETURN(to.qkv_bias, backend.Upload(from.qkv_bias));
    }
    if (!from.q_norm.empty()) {
      SLIMFILL_ASSIGN_OR_RETURN(to.q_norm, backend.Upload(from.q_norm));
      SLIMFILL_ASSIGN_OR_RETURN(to.k_norm, backend.Upload(from.k_norm));
    }
    SLIMFILL_ASSIGN_OR_RETURN(to.attention_out, backend.PackWeight(from.attention_out));
    SLIMFILL_ASSIGN_OR_RETURN(to.ffn_norm, backend.Upload(from.ffn_norm));
    SLIMFILL_ASSIGN_OR_RETURN(to.gate_up, backend.PackWeight(from.gate_up));
    SLIMFILL_ASSIGN_OR_RETURN(to.ffn_down, backend.PackWeight(from.ffn_down));
    layers_.push_back(std::move(to));
    if (progress) progress(index + 1, total);
  }
  SLIMFILL_ASSIGN_OR_RETURN(output_norm_, backend.Upload(weights_.output_norm));
  SLIMFILL_ASSIGN_OR_RETURN(output_, backend.PackWeight(weights_.output));
  if (progress) progress(total, total);
  return absl::OkStatus();
}

}  // namespace slimfill::engine
