#include "engine/model/hf_config.h"

#include <cmath>

#include "absl/strings/match.h"
#include "base/status.h"
#include "engine/model/json_object.h"

namespace slimfill::engine {
namespace {

// Where config.json has none, in HF's definitions.
constexpr int kQwen3HeadDim = 128;
constexpr int kMistralWindow = 4096;
constexpr float kDefaultTheta = 10000.0f;

absl::StatusOr<Architecture> ReadArchitecture(const JsonObject& config) {
  SLIMFILL_ASSIGN_OR_RETURN(const std::string type, config.String("model_type"));
  for (const Architecture known :
       {Architecture::kLlama, Architecture::kQwen2, Architecture::kQwen3, Architecture::kMistral}) {
    if (type == ArchitectureName(known)) return known;
  }
  if (absl::StartsWith(type, "gemma")) {
    return config.Invalid("\"model_type\" is ", QuotedForError(absl::string_view(type)),
                          ": Gemma's sliding-window layers, pre- and post-norms and SentencePiece vocabulary are not "
                          "supported: use a llama, qwen2, qwen3 or mistral model");
  }
  return config.Invalid("\"model_type\" ", QuotedForError(absl::string_view(type)),
                        " is not supported: use a llama, qwen2, qwen3 or mistral model");
}

// Variants of the architectures that the forward pass does not have: better refused than answered wrongly.
absl::Status CheckNoVariant(const JsonObject& config) {
  if (config.Has("quantization_config")) {
    return config.Invalid(
        "\"quantization_config\" is set: quantised safetensors are not supported: use the model's "
        "unquantised form, or a GGUF file");
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    SLIMFILL_ASSIGN_OR_RETURN(const bool bias, config.BoolOr(key, false));
    if (bias) return config.Invalid("\"", key, "\" is true: such biases are not supported: use another model");
  }
  SLIMFILL_ASSIGN_OR_RETURN(const std::string activation, config.StringOr("hidden_act", "silu"));
  if (activation != "silu") {
    return config.Invalid("\"hidden_act\" is ", QuotedForError(absl::string_view(activation)),
                          ", only \"silu\" is supported: use another model");
  }
  return absl::OkStatus();
}

absl::Status CheckWholeHeadIsRotated(const JsonObject& object) {
  SLIMFILL_ASSIGN_OR_RETURN(const float rotated, object.PositiveFloatOr("partial_rotary_factor", 1.0f));
  if (rotated == 1.0f) return absl::OkStatus();
  return object.Invalid(object.Name("partial_rotary_factor"), " is ", rotated,
                        ": only heads that are rotated as a whole are supported: use another model");
}

absl::Status ReadHeads(const JsonObject& json, ModelConfig& config) {
  SLIMFILL_ASSIGN_OR_RETURN(config.heads, json.Int("num_attention_heads", ConfigLimits::kHeads));
  SLIMFILL_ASSIGN_OR_RETURN(config.kv_heads, json.IntOr("num_key_value_heads", ConfigLimits::kHeads, config.heads));
  const bool derived = !json.Has("head_dim") && config.architecture != Architecture::kQwen3;
  if (derived && config.hidden % config.heads != 0) {
    return json.Invalid("\"hidden_size\" ", config.hidden, " is not a multiple of \"num_attention_heads\" ",
                        config.heads, ": use the file as published with the model");
  }
  SLIMFILL_ASSIGN_OR_RETURN(config.head_dim, json.IntOr("head_dim", ConfigLimits::kHeadDim,
                                                        derived ? config.hidden / config.heads : kQwen3HeadDim));
  if (const absl::Status status = CheckHeads(config); !status.ok()) return json.Invalid(status.message());
  return absl::OkStatus();
}

// Llama 3.1's scaling: frequencies whose wavelength is long against the original context are divided by `factor`, short
// ones are left, and between the two limits the divisor goes over smoothly (arXiv 2407.21783, section 3.4.3, as
// released with the models).
absl::Status ReadLlama3Scaling(const JsonObject& scaling, ModelConfig& config) {
  SLIMFILL_ASSIGN_OR_RETURN(const float factor, scaling.PositiveFloat("factor"));
  SLIMFILL_ASSIGN_OR_RETURN(const float low, scaling.PositiveFloat("low_freq_factor"));
  SLIMFILL_ASSIGN_OR_RETURN(const float high, scaling.PositiveFloat("high_freq_factor"));
  SLIMFILL_ASSIGN_OR_RETURN(const int original,
                            scaling.Int("original_max_position_embeddings", ConfigLimits::kContext));
  if (!(high > low)) {
    return scaling.Invalid(scaling.Name("high_freq_factor"), " is ", high, ", it must be above ",
                           scaling.Name("low_freq_factor"), ", ", low, ": use the file as published with the model");
  }
  constexpr double kTwoPi = 6.283185307179586;
  for (int i = 0; i < config.head_dim / 2; ++i) {
    const double wavelength = kTwoPi * std::pow(double{config.rope_theta}, 2.0 * i / config.head_dim);
    const double turns = original / wavelength;  // over the original context
    const double smooth = (turns - low) / (double{high} - low);
    double divisor = 1 / ((1 - smooth) / factor + smooth);
    if (turns <= low) divisor = factor;
    if (turns >= high) divisor = 1;
    config.rope_frequency_divisors.push_back(static_cast<float>(divisor));
  }
  return absl::OkStatus();
}

// rope_scaling, and since transformers 5 rope_parameters, which holds theta, too.
absl::Status ReadRope(const JsonObject& json, ModelConfig& config) {
  SLIMFILL_ASSIGN_OR_RETURN(config.rope_theta, json.PositiveFloatOr("rope_theta", kDefaultTheta));
  SLIMFILL_RETURN_IF_ERROR(CheckWholeHeadIsRotated(json));
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!json.Has(key)) continue;
    SLIMFILL_ASSIGN_OR_RETURN(const JsonObject scaling, json.Object(key));
    SLIMFILL_ASSIGN_OR_RETURN(config.rope_theta, scaling.PositiveFloatOr("rope_theta", config.rope_theta));
    SLIMFILL_RETURN_IF_ERROR(CheckWholeHeadIsRotated(scaling));
    SLIMFILL_ASSIGN_OR_RETURN(const std::string old_type, scaling.StringOr("type", "default"));
    SLIMFILL_ASSIGN_OR_RETURN(const std::string type, scaling.StringOr("rope_type", old_type));
    if (type == "default") continue;
    if (type != "llama3") {
      return json.Invalid(scaling.Name("rope_type"), " is ", QuotedForError(absl::string_view(type)),
                          ": only unscaled positions (\"default\") and Llama 3.1's (\"llama3\") are supported: use a "
                          "model whose context needs no other scaling");
    }
    config.rope_frequency_divisors.clear();
    SLIMFILL_RETURN_IF_ERROR(ReadLlama3Scaling(scaling, config));
  }
  return absl::OkStatus();
}

// mistral always uses its window, unless it is null; qwen2 and qwen3 where use_sliding_window says so (in some layers:
// the most that a context may have is the same).
absl::Status ReadSlidingWindow(const JsonObject& json, ModelConfig& config) {
  const bool mistral = config.architecture == Architecture::kMistral;
  SLIMFILL_ASSIGN_OR_RETURN(const bool used, json.BoolOr("use_sliding_window", mistral));
  if (config.architecture == Architecture::kLlama || !used) return absl::OkStatus();
  if (mistral && !json.HasKey("sliding_window")) config.sliding_window = kMistralWindow;
  if (!json.Has("sliding_window")) return absl::OkStatus();
  SLIMFILL_ASSIGN_OR_RETURN(config.sliding_window, json.Int("sliding_window", ConfigLimits::kContext));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ReadHfConfig(const nlohmann::json& json_config, const std::string& file) {
  const JsonObject json(json_config, file);
  ModelConfig config;
  SLIMFILL_ASSIGN_OR_RETURN(config.architecture, ReadArchitecture(json));
  SLIMFILL_RETURN_IF_ERROR(CheckNoVariant(json));
  SLIMFILL_ASSIGN_OR_RETURN(config.layers, json.Int("num_hidden_layers", ConfigLimits::kLayers));
  SLIMFILL_ASSIGN_OR_RETURN(config.hidden, json.Int("hidden_size", ConfigLimits::kWidth));
  SLIMFILL_ASSIGN_OR_RETURN(config.ffn, json.Int("intermediate_size", ConfigLimits::kWidth));
  SLIMFILL_ASSIGN_OR_RETURN(config.vocab, json.Int("vocab_size", ConfigLimits::kVocab));
  SLIMFILL_ASSIGN_OR_RETURN(config.context, json.Int("max_position_embeddings", ConfigLimits::kContext));
  SLIMFILL_ASSIGN_OR_RETURN(config.rms_epsilon, json.PositiveFloat("rms_norm_eps"));
  SLIMFILL_RETURN_IF_ERROR(ReadHeads(json, config));
  SLIMFILL_RETURN_IF_ERROR(ReadRope(json, config));
  SLIMFILL_RETURN_IF_ERROR(ReadSlidingWindow(json, config));
  SLIMFILL_ASSIGN_OR_RETURN(config.tied_embeddings, json.BoolOr("tie_word_embeddings", false));
  config.qkv_bias = config.architecture == Architecture::kQwen2;
  config.qk_norm = config.architecture == Architecture::kQwen3;
  return config;
}

}  // namespace slimfill::engine
