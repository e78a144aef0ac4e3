#include "tests/support/tiny_model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tests/support/gguf_builder.h"

namespace slimfill::testing {
namespace {

using engine::Architecture;

constexpr const char* kChatMlTemplate =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
    "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

// Token types as in tokenizer.ggml.token_type.
constexpr int32_t kNormalToken = 1;
constexpr int32_t kControlToken = 3;

// In the order of their ranks; "\xc4\xa0" is the space in GPT-2's byte alphabet.
const std::vector<std::pair<std::string, std::string>>& Merges() {
  static const auto* merges = new std::vector<std::pair<std::string, std::string>>{
      {"\xc4\xa0", "t"}, {"h", "e"}, {"i", "n"}, {"\xc4\xa0t", "he"}, {"a", "n"}, {"e", "r"}, {"in", "g"}};
  return *merges;
}

const std::vector<std::string>& SpecialTokens() {
  static const auto* tokens = new std::vector<std::string>{"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  return *tokens;
}

std::string Utf8(int code_point) {
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3f))};
}

// GPT-2's alphabet: printable bytes stand for themselves, the others for the characters from U+0100 on.
std::vector<std::string> ByteAlphabet() {
  std::vector<std::string> alphabet;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
    alphabet.push_back(Utf8(printable ? byte : next++));
  }
  return alphabet;
}

// Standard normal numbers; the same everywhere, unlike the standard library's distributions.
class Normal {
 public:
  explicit Normal(uint64_t seed) : state_(seed) {}
  float operator()() {
    const double radius = std::sqrt(-2 * std::log(1 - Uniform()));
    return static_cast<float>(radius * std::cos(6.283185307179586 * Uniform()));
  }

 private:
  double Uniform() {  // splitmix64, in [0, 1)
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return static_cast<double>((z ^ z >> 31) >> 11) * 0x1p-53;
  }
  uint64_t state_;
};

class TinyModelWriter {
 public:
  explicit TinyModelWriter(const TinyModelOptions& options) : options_(options), normal_(options.seed) {}

  std::vector<std::byte> Write() {
    WriteConfig();
    WriteTokenizer();
    WriteWeights();
    return builder_.Build();
  }

 private:
  void WriteConfig() {
    const std::string arch = engine::ArchitectureName(options_.architecture);
    builder_.SetString("general.architecture", arch).SetString("general.name", "tiny");
    builder_.SetInt(arch + ".block_count", options_.layers);
    builder_.SetInt(arch + ".context_length", options_.context);
    builder_.SetInt(arch + ".embedding_length", options_.hidden);
    builder_.SetInt(arch + ".feed_forward_length", options_.ffn);
    builder_.SetInt(arch + ".attention.head_count", options_.heads);
    builder_.SetInt(arch + ".attention.head_count_kv", options_.kv_heads);
    builder_.SetInt(arch + ".attention.key_length", options_.head_dim);
    builder_.SetInt(arch + ".attention.value_length", options_.head_dim);
    builder_.SetFloat(arch + ".rope.freq_base", options_.rope_theta);
    builder_.SetFloat(arch + ".attention.layer_norm_rms_epsilon", 1e-5f);
  }

  void WriteTokenizer() {
    const std::vector<std::string> tokens = TinyVocabulary();
    std::vector<int32_t> types(tokens.size(), kNormalToken);
    for (size_t i = 0; i < SpecialTokens().size(); ++i) types[types.size() - 1 - i] = kControlToken;
    std::vector<std::string> merges;
    for (const auto& [left, right] : Merges()) merges.push_back(left + " " + right);
    const uint32_t end = static_cast<uint32_t>(tokens.size()) - 1;
    builder_.SetString("tokenizer.ggml.model", "gpt2").SetString("tokenizer.ggml.pre", "qwen2");
    builder_.SetStrings("tokenizer.ggml.tokens", tokens).SetInts("tokenizer.ggml.token_type", types);
    builder_.SetStrings("tokenizer.ggml.merges", merges);
    builder_.SetInt("tokenizer.ggml.bos_token_id", end - 2).SetInt("tokenizer.ggml.eos_token_id", end);
    builder_.SetBool("tokenizer.ggml.add_bos_token", false);
    builder_.SetString("tokenizer.chat_template", kChatMlTemplate);
  }

  void WriteWeights() {
    const int q_rows = options_.heads * options_.head_dim;
    const int kv_rows = options_.kv_heads * options_.head_dim;
    const int vocab = static_cast<int>(TinyVocabulary().size());
    Matrix("token_embd.weight", vocab, options_.hidden);
    for (int layer = 0; layer < options_.layers; ++layer) {
      const std::string prefix = absl::StrCat("blk.", layer, ".");
      Norm(prefix + "attn_norm.weight");
      Matrix(prefix + "attn_q.weight", q_rows, options_.hidden, options_.query_scale);
      Matrix(prefix + "attn_k.weight", kv_rows, options_.hidden);
      Matrix(prefix + "attn_v.weight", kv_rows, options_.hidden);
      if (options_.architecture == Architecture::kQwen2 && options_.qkv_bias) {
        Vector(prefix + "attn_q.bias", q_rows, 0.0f, 0.1f);
        Vector(prefix + "attn_k.bias", kv_rows, 0.0f, 0.1f);
        Vector(prefix + "attn_v.bias", kv_rows, 0.0f, 0.1f);
      }
      if (options_.architecture == Architecture::kQwen3) {
        Vector(prefix + "attn_q_norm.weight", options_.head_dim, 1.0f, 0.2f);
        Vector(prefix + "attn_k_norm.weight", options_.head_dim, 1.0f, 0.2f);
      }
      Matrix(prefix + "attn_output.weight", options_.hidden, q_rows);
      Norm(prefix + "ffn_norm.weight");
      Matrix(prefix + "ffn_gate.weight", options_.ffn, options_.hidden);
      Matrix(prefix + "ffn_up.weight", options_.ffn, options_.hidden);
      Matrix(prefix + "ffn_down.weight", options_.hidden, options_.ffn);
    }
    Norm("output_norm.weight");
    if (!options_.tied_embeddings) Matrix("output.weight", vocab, options_.hidden);
    if (options_.rope_frequency_divisors) {
      std::vector<float> divisors;
      for (int i = 0; i < options_.head_dim / 2; ++i) divisors.push_back(1.0f + static_cast<float>(i));
      builder_.AddF32("rope_freqs.weight", {divisors.size()}, divisors);
    }
  }

  void Matrix(const std::string& name, int rows, int cols, float scale = 1) {
    std::vector<float> values(static_cast<size_t>(rows) * cols);
    const float deviation = scale / std::sqrt(static_cast<float>(cols));
    for (float& value : values) value = deviation * normal_();
    builder_.AddF32(name, {static_cast<uint64_t>(cols), static_cast<uint64_t>(rows)}, values);
  }

  void Vector(const std::string& name, int size, float mean, float deviation) {
    std::vector<float> values(size);
    for (float& value : values) value = mean + deviation * normal_();
    builder_.AddF32(name, {values.size()}, values);
  }

  void Norm(const std::string& name) { Vector(name, options_.hidden, 1.0f, 0.1f); }

  const TinyModelOptions& options_;
  Normal normal_;
  GgufBuilder builder_;
};

}  // namespace

std::vector<std::string> TinyVocabulary() {
  std::vector<std::string> tokens = ByteAlphabet();
  for (const auto& [left, right] : Merges()) tokens.push_back(left + right);
  tokens.insert(tokens.end(), SpecialTokens().begin(), SpecialTokens().end());
  return tokens;
}

std::vector<std::byte> MakeTinyModelGguf(const TinyModelOptions& options) { return TinyModelWriter(options).Write(); }

std::string WriteTemporaryFile(const std::string& name, const std::vector<std::byte>& bytes) {
  const std::string path = absl::StrCat(::testing::TempDir(), "slimfill-", ::getpid(), "-", name);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  SLIMFILL_CHECK(file.good());
  return path;
}

}  // namespace slimfill::testing
