#include "engine/model/config.h"

#include <cmath>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/model/dequantize.h"

namespace slimfill::engine {
namespace {

constexpr size_t kMaxNameBytes = 128;

// Reads the keys of one architecture ("llama.block_count"), each within a range.
class KeyReader {
 public:
  KeyReader(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  template <typename... Parts>
  absl::Status Invalid(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(file_.name(), ": ", parts...));
  }

  bool Has(const char* key) const { return file_.metadata().count(Full(key)) != 0; }

  absl::StatusOr<int> Int(const char* key, int64_t max) const {
    const std::string full = Full(key);
    SLIMFILL_ASSIGN_OR_RETURN(const int64_t value, Required(file_.GetInt(full)));
    if (value < 1 || value > max) {
      return Invalid("key \"", full, "\" is ", value, ", supported are 1 to ", max);
    }
    return static_cast<int>(value);
  }
  absl::StatusOr<int> IntOr(const char* key, int64_t max, int fallback) const {
    if (!Has(key)) return fallback;
    return Int(key, max);
  }

  absl::StatusOr<float> PositiveFloat(const char* key) const {
    const std::string full = Full(key);
    SLIMFILL_ASSIGN_OR_RETURN(const double value, Required(file_.GetFloat(full)));
    const float narrow = static_cast<float>(value);
    if (!std::isfinite(narrow) || narrow <= 0) {
      return Invalid("key \"", full, "\" is ", value, ", it must be positive and finite");
    }
    return narrow;
  }
  absl::StatusOr<float> PositiveFloatOr(const char* key, float fallback) const {
    if (!Has(key)) return fallback;
    return PositiveFloat(key);
  }

  std::string Full(const char* key) const { return absl::StrCat(prefix_, ".", key); }

 private:
  // A model file without one of these keys is no valid argument.
  template <typename T>
  static absl::StatusOr<T> Required(absl::StatusOr<T> value) {
    if (value.ok() || !absl::IsNotFound(value.status())) return value;
    return absl::InvalidArgumentError(
        absl::StrCat(value.status().message(), ": convert the model again with a current converter"));
  }

  const GgufFile& file_;
  const std::string prefix_;
};

absl::StatusOr<Architecture> ReadArchitecture(const GgufFile& file) {
  const absl::StatusOr<std::string> name = file.GetString("general.architecture");
  if (!name.ok()) return absl::InvalidArgumentError(name.status().message());
  if (*name == "llama") return Architecture::kLlama;
  if (*name == "qwen2") return Architecture::kQwen2;
  if (*name == "qwen3") return Architecture::kQwen3;
  return absl::InvalidArgumentError(
      absl::StrCat(file.name(), ": architecture \"", absl::CHexEscape(name->substr(0, kMaxNameBytes)),
                   "\" is not supported: use a llama, qwen2 or qwen3 model (mistral files are of "
                   "the architecture llama)"));
}

// Escaped, because it is shown in answers and metrics, which must be UTF-8.
std::string ReadName(const GgufFile& file) {
  const absl::StatusOr<std::string> name = file.GetString("general.name");
  const bool usable = name.ok() && !name->empty() && name->size() <= kMaxNameBytes;
  return absl::CHexEscape(usable ? *name : std::filesystem::path(file.name()).stem().string());
}

// Variants of the architectures that the forward pass does not have: better refused than answered wrongly.
absl::Status CheckNoVariant(const GgufFile& file, const KeyReader& keys) {
  if (keys.Has("expert_count")) {
    SLIMFILL_ASSIGN_OR_RETURN(const int64_t experts, file.GetInt(keys.Full("expert_count")));
    if (experts != 0) {
      return keys.Invalid("key \"", keys.Full("expert_count"), "\" is ", experts,
                          ": mixtures of experts are not supported: use a dense model");
    }
  }
  if (keys.Has("attention.causal")) {
    SLIMFILL_ASSIGN_OR_RETURN(const bool causal, file.GetBool(keys.Full("attention.causal")));
    if (!causal) return keys.Invalid("the model's attention is not causal: use a model that generates text");
  }
  if (keys.Has("rope.scaling.type")) {
    SLIMFILL_ASSIGN_OR_RETURN(const std::string type, file.GetString(keys.Full("rope.scaling.type")));
    if (type != "none") {
      return keys.Invalid("key \"", keys.Full("rope.scaling.type"), "\" is \"",
                          absl::CHexEscape(type.substr(0, kMaxNameBytes)),
                          "\": only unscaled positions and Llama 3.1's frequency divisors are supported");
    }
  }
  // Older files scale positions by these, without naming a type.
  for (const char* key : {"rope.scaling.factor", "rope.scale_linear"}) {
    SLIMFILL_ASSIGN_OR_RETURN(const float factor, keys.PositiveFloatOr(key, 1.0f));
    if (factor != 1.0f) {
      return keys.Invalid("key \"", keys.Full(key), "\" is ", factor, ": scaled positions are not supported");
    }
  }
  return absl::OkStatus();
}

// The rotated width is the whole head, and the heads are alike in queries, keys and values.
absl::Status ReadHeads(const KeyReader& keys, ModelConfig& config) {
  SLIMFILL_ASSIGN_OR_RETURN(config.heads, keys.Int("attention.head_count", ConfigLimits::kHeads));
  SLIMFILL_ASSIGN_OR_RETURN(config.kv_heads, keys.IntOr("attention.head_count_kv", ConfigLimits::kHeads, config.heads));
  const bool derived = !keys.Has("attention.key_length");
  if (derived && config.hidden % config.heads != 0) {
    return keys.Invalid("the embedding width ", config.hidden, " is not a multiple of ", config.heads, " heads");
  }
  config.head_dim = config.hidden / config.heads;
  if (!derived) {
    SLIMFILL_ASSIGN_OR_RETURN(config.head_dim, keys.Int("attention.key_length", ConfigLimits::kHeadDim));
  }
  if (const absl::Status status = CheckHeads(config); !status.ok()) return keys.Invalid(status.message());
  for (const char* key : {"attention.value_length", "rope.dimension_count"}) {
    SLIMFILL_ASSIGN_OR_RETURN(const int value, keys.IntOr(key, ConfigLimits::kHeadDim, config.head_dim));
    if (value != config.head_dim) {
      return keys.Invalid("key \"", keys.Full(key), "\" is ", value, ", only the head dimension ", config.head_dim,
                          " is supported");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadVocab(const GgufFile& file, const KeyReader& keys, ModelConfig& config) {
  const StoredTensor* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr) return keys.Invalid("tensor \"token_embd.weight\" is missing: use a complete model file");
  if (embedding->rows() > ConfigLimits::kVocab) {
    return keys.Invalid("the vocabulary has ", embedding->rows(), " tokens, the limit is ", ConfigLimits::kVocab);
  }
  config.vocab = static_cast<int>(embedding->rows());
  if (file.metadata().count("tokenizer.ggml.tokens") == 0) return absl::OkStatus();
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<std::string>* tokens, file.GetStrings("tokenizer.ggml.tokens"));
  if (tokens->size() != static_cast<size_t>(config.vocab)) {
    return keys.Invalid("the tokenizer has ", tokens->size(), " tokens, the embedding ", config.vocab, " rows");
  }
  return absl::OkStatus();
}

absl::Status ReadRopeDivisors(const GgufFile& file, const KeyReader& keys, ModelConfig& config) {
  const StoredTensor* tensor = file.FindTensor("rope_freqs.weight");
  if (tensor == nullptr) return absl::OkStatus();
  if (tensor->shape != std::vector<int64_t>{config.head_dim / 2}) {
    return keys.Invalid("tensor \"rope_freqs.weight\" must have the shape [", config.head_dim / 2, "]");
  }
  config.rope_frequency_divisors.resize(config.head_dim / 2);
  DequantizeRow(tensor->type, tensor->bytes, absl::MakeSpan(config.rope_frequency_divisors));
  for (const float divisor : config.rope_frequency_divisors) {
    if (!std::isfinite(divisor) || divisor <= 0) {
      return keys.Invalid("tensor \"rope_freqs.weight\" holds ", divisor, ", its values must be positive and finite");
    }
  }
  return absl::OkStatus();
}

// 0 means the same as no key.
absl::Status ReadSlidingWindow(const GgufFile& file, const KeyReader& keys, ModelConfig& config) {
  if (!keys.Has("attention.sliding_window")) return absl::OkStatus();
  SLIMFILL_ASSIGN_OR_RETURN(const int64_t window, file.GetInt(keys.Full("attention.sliding_window")));
  if (window < 0 || window > ConfigLimits::kContext) {
    return keys.Invalid("key \"", keys.Full("attention.sliding_window"), "\" is ", window, ", supported are 0 to ",
                        ConfigLimits::kContext);
  }
  config.sliding_window = static_cast<int>(window);
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckHeads(const ModelConfig& config) {
  if (config.heads % config.kv_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(config.heads, " query heads are not a multiple of ", config.kv_heads, " key/value heads"));
  }
  if (config.head_dim % 2 != 0 || config.head_dim < 2 || config.head_dim > ConfigLimits::kHeadDim) {
    return absl::InvalidArgumentError(absl::StrCat("the head dimension ", config.head_dim,
                                                   " is not supported: it must be even and at most ",
                                                   ConfigLimits::kHeadDim));
  }
  return absl::OkStatus();
}

const char* ArchitectureName(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama:
      return "llama";
    case Architecture::kQwen2:
      return "qwen2";
    case Architecture::kQwen3:
      return "qwen3";
    case Architecture::kMistral:
      return "mistral";
  }
  return "unknown";
}

absl::StatusOr<ModelConfig> ReadModelConfig(const GgufFile& file) {
  ModelConfig config;
  SLIMFILL_ASSIGN_OR_RETURN(config.architecture, ReadArchitecture(file));
  const KeyReader keys(file, ArchitectureName(config.architecture));
  SLIMFILL_RETURN_IF_ERROR(CheckNoVariant(file, keys));
  config.name = ReadName(file);
  SLIMFILL_ASSIGN_OR_RETURN(config.layers, keys.Int("block_count", ConfigLimits::kLayers));
  SLIMFILL_ASSIGN_OR_RETURN(config.hidden, keys.Int("embedding_length", ConfigLimits::kWidth));
  SLIMFILL_ASSIGN_OR_RETURN(config.ffn, keys.Int("feed_forward_length", ConfigLimits::kWidth));
  SLIMFILL_ASSIGN_OR_RETURN(config.context, keys.Int("context_length", ConfigLimits::kContext));
  SLIMFILL_ASSIGN_OR_RETURN(config.rms_epsilon, keys.PositiveFloat("attention.layer_norm_rms_epsilon"));
  SLIMFILL_ASSIGN_OR_RETURN(config.rope_theta, keys.PositiveFloatOr("rope.freq_base", 10000.0f));
  SLIMFILL_RETURN_IF_ERROR(ReadHeads(keys, config));
  SLIMFILL_RETURN_IF_ERROR(ReadSlidingWindow(file, keys, config));
  SLIMFILL_RETURN_IF_ERROR(ReadVocab(file, keys, config));
  SLIMFILL_RETURN_IF_ERROR(ReadRopeDivisors(file, keys, config));
  config.tied_embeddings = file.FindTensor("output.weight") == nullptr;
  config.qkv_bias = file.FindTensor("blk.0.attn_q.bias") != nullptr;
  config.qk_norm = config.architecture == Architecture::kQwen3;
  return config;
}

}  // namespace slimfill::engine
