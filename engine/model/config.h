// What the forward pass needs to know of a model, from its file's metadata; checked for consistency.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/gguf.h"

namespace slimfill::engine {

enum class Architecture { kLlama, kQwen2 };

const char* ArchitectureName(Architecture architecture);  // as in general.architecture

struct ModelConfig {
  std::string name;  // general.name, or the file's stem
  Architecture architecture = Architecture::kLlama;
  int layers = 0;
  int hidden = 0;    // embedding width
  int heads = 0;     // query heads
  int kv_heads = 0;  // key/value heads; heads % kv_heads == 0 (GQA)
  int head_dim = 0;
  int ffn = 0;  // SwiGLU inner width
  int vocab = 0;
  int context = 0;  // trained context length, tokens
  float rms_epsilon = 0;
  float rope_theta = 0;
  // Llama 3.1 scaling: one divisor per frequency pair (head_dim / 2), or empty. From the tensor rope_freqs.weight.
  std::vector<float> rope_frequency_divisors;
  bool tied_embeddings = false;
  bool qkv_bias = false;
};

// INVALID_ARGUMENT naming the key and the remedy when something is missing, inconsistent or unsupported.
absl::StatusOr<ModelConfig> ReadModelConfig(const GgufFile& file);

}  // namespace slimfill::engine
