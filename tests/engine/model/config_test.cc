#include "engine/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/gguf_builder.h"
#include "tests/support/tiny_model.h"

namespace slimfill::engine {
namespace {

using ::slimfill::testing::GgufBuilder;
using ::slimfill::testing::MakeTinyModelGguf;
using ::slimfill::testing::TinyModelOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

absl::StatusOr<ModelConfig> Read(const std::vector<std::byte>& bytes) {
  const auto file = GgufFile::Parse(bytes, "folder/some-model.gguf");
  if (!file.ok()) return file.status();
  return ReadModelConfig(**file);
}

void ExpectRefused(const GgufBuilder& builder, const std::string& text) {
  const absl::Status status = Read(builder.Build()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(text));
}

// The integer keys a llama model needs; a test changes or drops some.
struct LlamaKeys {
  std::vector<std::pair<std::string, uint32_t>> ints = {{"block_count", 2},          {"context_length", 64},
                                                        {"embedding_length", 8},     {"feed_forward_length", 16},
                                                        {"attention.head_count", 4}, {"attention.head_count_kv", 2}};
  float epsilon = 1e-5f;
  bool embedding = true;

  LlamaKeys& Set(const std::string& key, uint32_t value) {
    Drop(key);
    ints.emplace_back(key, value);
    return *this;
  }
  LlamaKeys& Drop(const std::string& key) {
    std::erase_if(ints, [&](const auto& entry) { return entry.first == key; });
    return *this;
  }
  GgufBuilder Builder() const {
    GgufBuilder builder;
    builder.SetString("general.architecture", "llama");
    for (const auto& [key, value] : ints) builder.SetInt("llama." + key, value);
    builder.SetFloat("llama.attention.layer_norm_rms_epsilon", epsilon);
    if (embedding) builder.AddF32("token_embd.weight", {8, 3}, std::vector<float>(24, 0.5f));
    return builder;
  }
};

TEST(ModelConfig, ReadsATinyModel) {
  TinyModelOptions options;
  options.layers = 3;
  options.head_dim = 64;
  options.heads = 6;
  options.kv_heads = 3;
  options.rope_theta = 1e6f;
  options.context = 512;
  const auto config = Read(MakeTinyModelGguf(options));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->name, "tiny");
  EXPECT_EQ(config->architecture, Architecture::kQwen2);
  EXPECT_EQ(config->layers, 3);
  EXPECT_EQ(config->hidden, 64);
  EXPECT_EQ(config->heads, 6);
  EXPECT_EQ(config->kv_heads, 3);
  EXPECT_EQ(config->head_dim, 64);
  EXPECT_EQ(config->ffn, 128);
  EXPECT_EQ(config->vocab, static_cast<int>(slimfill::testing::TinyVocabulary().size()));
  EXPECT_EQ(config->context, 512);
  EXPECT_EQ(config->rms_epsilon, 1e-5f);
  EXPECT_EQ(config->rope_theta, 1e6f);
  EXPECT_THAT(config->rope_frequency_divisors, IsEmpty());
  EXPECT_TRUE(config->tied_embeddings);
  EXPECT_TRUE(config->qkv_bias);
}

TEST(ModelConfig, SeesUntiedEmbeddingsAndMissingBiases) {
  TinyModelOptions options;
  options.architecture = Architecture::kLlama;
  options.tied_embeddings = false;
  const auto config = Read(MakeTinyModelGguf(options));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, Architecture::kLlama);
  EXPECT_FALSE(config->tied_embeddings);
  EXPECT_FALSE(config->qkv_bias);
}

TEST(ModelConfig, Qwen3NormalisesHeads) {
  TinyModelOptions options;
  EXPECT_FALSE(Read(MakeTinyModelGguf(options))->qk_norm);
  options.architecture = Architecture::kQwen3;
  options.head_dim = 32;
  const auto config = Read(MakeTinyModelGguf(options));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, Architecture::kQwen3);
  EXPECT_EQ(config->head_dim, 32);  // heads * head_dim is twice the width
  EXPECT_TRUE(config->qk_norm);
  EXPECT_FALSE(config->qkv_bias);
}

TEST(ModelConfig, ReadsRopeFrequencyDivisors) {
  TinyModelOptions options;
  options.architecture = Architecture::kLlama;
  options.rope_frequency_divisors = true;
  options.head_dim = 8;
  const auto config = Read(MakeTinyModelGguf(options));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->rope_frequency_divisors, ElementsAre(1, 2, 3, 4));
}

TEST(ModelConfig, FillsInWhatTheFormatLeavesOut) {
  const auto config = Read(LlamaKeys().Drop("attention.head_count_kv").Builder().Build());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->kv_heads, 4);
  EXPECT_EQ(config->head_dim, 2);
  EXPECT_EQ(config->rope_theta, 10000.0f);
  EXPECT_EQ(config->vocab, 3);
  EXPECT_EQ(config->name, "some-model");
}

TEST(ModelConfig, NameIsPrintable) {
  GgufBuilder builder = LlamaKeys().Builder();
  builder.SetString("general.name", "a\n\xff");
  const auto config = Read(builder.Build());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->name, "a\\n\\xff");
}

TEST(ModelConfig, NamesSupportedArchitectures) {
  GgufBuilder builder;
  builder.SetString("general.architecture", "mamba");
  ExpectRefused(builder, "architecture \"mamba\" is not supported: use a llama, qwen2 or qwen3 model");
  ExpectRefused(GgufBuilder(), "\"general.architecture\" is missing");
  GgufBuilder number;
  number.SetInt("general.architecture", 1);
  ExpectRefused(number, "\"general.architecture\" is not a string");
}

TEST(ModelConfig, NamesMissingKeys) {
  for (const char* key :
       {"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"}) {
    ExpectRefused(LlamaKeys().Drop(key).Builder(), std::string("\"llama.") + key + "\" is missing");
  }
}

TEST(ModelConfig, RefusesSizesOutOfRange) {
  for (const char* key : {"block_count", "context_length", "embedding_length", "feed_forward_length",
                          "attention.head_count", "attention.head_count_kv", "attention.key_length"}) {
    ExpectRefused(LlamaKeys().Set(key, 0).Builder(), std::string("\"llama.") + key + "\" is 0");
    ExpectRefused(LlamaKeys().Set(key, 0xffffffffu).Builder(), std::string("\"llama.") + key + "\" is 4294967295");
  }
}

TEST(ModelConfig, RefusesInconsistentHeads) {
  ExpectRefused(LlamaKeys().Set("attention.head_count_kv", 3).Builder(), "not a multiple of 3 key/value heads");
  ExpectRefused(LlamaKeys().Set("attention.head_count_kv", 8).Builder(), "not a multiple of 8 key/value heads");
  ExpectRefused(LlamaKeys().Set("attention.head_count", 3).Drop("attention.head_count_kv").Builder(),
                "8 is not a multiple of 3 heads");
  ExpectRefused(LlamaKeys().Set("attention.key_length", 3).Builder(), "head dimension 3");
  ExpectRefused(LlamaKeys().Set("embedding_length", 8192).Set("attention.head_count", 4).Builder(),
                "head dimension 2048");
  ExpectRefused(LlamaKeys().Set("attention.value_length", 4).Builder(), "only the head dimension 2");
  ExpectRefused(LlamaKeys().Set("rope.dimension_count", 1).Builder(), "only the head dimension 2");
}

TEST(ModelConfig, RefusesKeyOfAnotherType) {
  GgufBuilder builder = LlamaKeys().Drop("attention.head_count_kv").Builder();
  builder.SetInts("llama.attention.head_count_kv", {2, 4});  // one count for each layer
  ExpectRefused(builder, "\"llama.attention.head_count_kv\" is not an integer");
}

TEST(ModelConfig, RefusesEpsilonAndThetaThatAreNotPositive) {
  for (const float value :
       {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    LlamaKeys keys;
    keys.epsilon = value;
    ExpectRefused(keys.Builder(), "positive and finite");
    GgufBuilder builder = LlamaKeys().Builder();
    builder.SetFloat("llama.rope.freq_base", value);
    ExpectRefused(builder, "positive and finite");
  }
}

TEST(ModelConfig, RefusesVariantsItWouldComputeWrongly) {
  ExpectRefused(LlamaKeys().Set("expert_count", 8).Builder(), "mixtures of experts");
  GgufBuilder scaled = LlamaKeys().Builder();
  scaled.SetString("llama.rope.scaling.type", "yarn");
  ExpectRefused(scaled, "\"yarn\"");
  GgufBuilder linear = LlamaKeys().Builder();
  linear.SetFloat("llama.rope.scaling.factor", 4.0f);
  ExpectRefused(linear, "scaled positions are not supported");
  GgufBuilder encoder = LlamaKeys().Builder();
  encoder.SetBool("llama.attention.causal", false);
  ExpectRefused(encoder, "not causal");
}

TEST(ModelConfig, ReadsTheSlidingWindow) {
  const auto config = Read(LlamaKeys().Set("attention.sliding_window", 4096).Builder().Build());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->sliding_window, 4096);
  EXPECT_EQ(Read(LlamaKeys().Set("attention.sliding_window", 0).Builder().Build())->sliding_window, 0);
  ExpectRefused(LlamaKeys().Set("attention.sliding_window", 0xffffffffu).Builder(),
                "\"llama.attention.sliding_window\" is 4294967295, supported are 0 to");
}

TEST(ModelConfig, AcceptsVariantKeysThatSayNothing) {
  GgufBuilder builder = LlamaKeys().Set("expert_count", 0).Builder();
  builder.SetString("llama.rope.scaling.type", "none").SetBool("llama.attention.causal", true);
  EXPECT_TRUE(Read(builder.Build()).ok());
}

TEST(ModelConfig, RefusesVocabularyThatDoesNotMatchTheEmbedding) {
  GgufBuilder builder = LlamaKeys().Builder();
  builder.SetStrings("tokenizer.ggml.tokens", {"a", "b"});
  ExpectRefused(builder, "the tokenizer has 2 tokens, the embedding 3 rows");
}

TEST(ModelConfig, RefusesMissingEmbedding) {
  LlamaKeys keys;
  keys.embedding = false;
  ExpectRefused(keys.Builder(), "\"token_embd.weight\" is missing");
}

TEST(ModelConfig, RefusesWrongRopeFrequencyDivisors) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  GgufBuilder wrong_shape = LlamaKeys().Builder();
  wrong_shape.AddF32("rope_freqs.weight", {2}, std::vector<float>{1, 1});
  ExpectRefused(wrong_shape, "must have the shape [1]");
  for (const float value : {0.0f, -1.0f, nan}) {
    GgufBuilder builder = LlamaKeys().Builder();
    builder.AddF32("rope_freqs.weight", {1}, std::vector<float>{value});
    ExpectRefused(builder, "positive and finite");
  }
}

}  // namespace
}  // namespace slimfill::engine
