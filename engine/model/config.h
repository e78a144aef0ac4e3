// What the forward pass needs to know of a model, from a GGUF file's metadata (hf_config.h: from a config.json);
// checked for consistency.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/gguf.h"

namespace slimfill::engine {

enum class Architecture { kLlama, kQwen2, kQwen3, kMistral };

const char* ArchitectureName(Architecture architecture);  // as in general.architecture and model_type

struct ModelConfig {
  std::string name;  // general.name, or the stem of the file or directory
  Architecture architecture = Architecture::kLlama;
  int layers = 0;
  int hidden = 0;    // embedding width
  int heads = 0;     // query heads
  int kv_heads = 0;  // key/value heads; heads % kv_heads == 0 (GQA)
  int head_dim = 0;
  int ffn = 0;  // SwiGLU inner width
  int vocab = 0;
  int context = 0;  // trained context length, tokens
  // A token attends to the last so many tokens, itself among them; 0: to all. We serve no context beyond it.
  int sliding_window = 0;
  float rms_epsilon = 0;
  float rope_theta = 0;
  // Llama 3.1 scaling: one divisor per frequency pair (head_dim / 2), or empty. From the tensor rope_freqs.weight, or
  // the factors that it is made of.
  std::vector<float> rope_frequency_divisors;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool qk_norm = false;  // every query and key head is normalised before RoPE
};

// How much a model may claim of anything, far above what exists, so that sizes computed from it do not overflow.
struct ConfigLimits {
  static constexpr int64_t kLayers = 1024;
  static constexpr int64_t kWidth = 1 << 20;
  static constexpr int64_t kHeads = 4096;
  static constexpr int64_t kHeadDim = 1024;
  static constexpr int64_t kVocab = 1 << 24;
  static constexpr int64_t kContext = 1 << 30;
};

// INVALID_ARGUMENT when heads, kv_heads and head_dim do not go together. Does not name the file.
absl::Status CheckHeads(const ModelConfig& config);

// INVALID_ARGUMENT naming the key and the remedy when something is missing, inconsistent or unsupported.
absl::StatusOr<ModelConfig> ReadModelConfig(const GgufFile& file);

}  // namespace slimfill::engine
