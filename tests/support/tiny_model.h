// A complete model of a few hundred kilobytes with random weights and a byte-level vocabulary, as a GGUF file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/model/config.h"

namespace slimfill::testing {

struct TinyModelOptions {
  engine::Architecture architecture = engine::Architecture::kQwen2;
  int layers = 4;
  int hidden = 64;
  int heads = 4;
  int kv_heads = 2;
  int head_dim = 16;  // need not be hidden / heads
  int ffn = 128;
  int context = 4096;
  float rope_theta = 10000.0f;
  bool tied_embeddings = true;
  bool qkv_bias = true;                  // qwen2 only
  bool rope_frequency_divisors = false;  // with rope_freqs.weight, as Llama 3.1
  float query_scale = 1;                 // of the query weights: the larger, the fewer tokens get a head's attention
  uint64_t seed = 1;
};

// The vocabulary: tokens 0 to 255 are the single bytes (token b is byte b), then a few merges (" t", "he", " the",
// ...), then <|endoftext|>, <|im_start|>, <|im_end|> (the end-of-sequence token), all three of type control.
// Pre-tokenizer "qwen2", chat template ChatML. Weights are F32, normal with the deviation 1/sqrt(columns): logits
// differ clearly from token to token, and depend on every layer. The same options give the same bytes.
std::vector<std::byte> MakeTinyModelGguf(const TinyModelOptions& options = {});
std::vector<std::string> TinyVocabulary();  // the tokens' texts, in GPT-2's byte alphabet

// Writes `bytes` to a new file in the test's temporary folder and returns its path.
std::string WriteTemporaryFile(const std::string& name, const std::vector<std::byte>& bytes);

}  // namespace slimfill::testing
