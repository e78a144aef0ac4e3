#include "engine/model/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace slimfill::engine {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

nlohmann::json Llama() {
  return {{"model_type", "llama"},       {"num_hidden_layers", 2},   {"hidden_size", 64},
          {"intermediate_size", 128},    {"vocab_size", 300},        {"max_position_embeddings", 512},
          {"num_attention_heads", 4},    {"num_key_value_heads", 2}, {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", true}, {"rope_theta", 5e5}};
}

nlohmann::json With(const std::string& key, nlohmann::json value) {
  nlohmann::json config = Llama();
  config[key] = std::move(value);
  return config;
}

nlohmann::json Typed(const std::string& type) { return With("model_type", type); }

ModelConfig Read(const nlohmann::json& json) {
  const auto config = ReadHfConfig(json, "dir/config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : ModelConfig();
}

void ExpectRefused(const nlohmann::json& json, const std::string& text) {
  const absl::Status status = ReadHfConfig(json, "dir/config.json").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), StartsWith("dir/config.json: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr(text));
}

TEST(HfConfig, ReadsEveryKey) {
  const ModelConfig config = Read(Llama());
  EXPECT_EQ(config.architecture, Architecture::kLlama);
  EXPECT_EQ(config.layers, 2);
  EXPECT_EQ(config.hidden, 64);
  EXPECT_EQ(config.ffn, 128);
  EXPECT_EQ(config.vocab, 300);
  EXPECT_EQ(config.context, 512);
  EXPECT_EQ(config.heads, 4);
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.rms_epsilon, 1e-5f);
  EXPECT_EQ(config.rope_theta, 5e5f);
  EXPECT_THAT(config.rope_frequency_divisors, IsEmpty());
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_FALSE(config.qkv_bias);
  EXPECT_FALSE(config.qk_norm);
}

TEST(HfConfig, FillsInWhatTransformersFillsIn) {
  nlohmann::json json = Typed("qwen2");
  for (const char* key : {"num_key_value_heads", "tie_word_embeddings", "rope_theta"}) json.erase(key);
  const ModelConfig config = Read(json);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_EQ(config.rope_theta, 10000.0f);
  EXPECT_TRUE(config.qkv_bias);
  const ModelConfig qwen3 = Read(Typed("qwen3"));
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_FALSE(qwen3.qkv_bias);
}

TEST(HfConfig, NullIsTheSameAsNothing) {
  nlohmann::json json = With("head_dim", nullptr);
  json["rope_scaling"] = nullptr;
  json["quantization_config"] = nullptr;
  EXPECT_EQ(Read(json).head_dim, 16);
}

// The published parameters of Llama 3.1 with a head of 8: the first frequency stays, the last is divided by 8.
TEST(HfConfig, ScalesRopeAsLlama31) {
  const nlohmann::json scaling = {{"rope_type", "llama3"},
                                  {"factor", 8.0},
                                  {"low_freq_factor", 1.0},
                                  {"high_freq_factor", 4.0},
                                  {"original_max_position_embeddings", 8192}};
  nlohmann::json json = With("rope_scaling", scaling);
  json["head_dim"] = 8;
  const std::vector<float> divisors = Read(json).rope_frequency_divisors;
  ASSERT_EQ(divisors.size(), 4u);
  EXPECT_EQ(divisors[0], 1.0f);
  EXPECT_EQ(divisors[1], 1.0f);  // a wavelength of 167, below 8192 / 4
  // A wavelength of 4443 turns 1.844 times over 8192: between the limits 1 and 4, at (1.844 - 1) / 3 = 0.2813.
  EXPECT_NEAR(divisors[2], 1 / ((1 - 0.2813) / 8 + 0.2813), 1e-3);
  EXPECT_EQ(divisors[3], 8.0f);

  nlohmann::json newer = Llama();  // transformers 5
  newer.erase("rope_theta");
  newer["rope_parameters"] = scaling;
  newer["rope_parameters"]["rope_theta"] = 5e5;
  newer["head_dim"] = 8;
  EXPECT_EQ(Read(newer).rope_frequency_divisors, divisors);
  EXPECT_EQ(Read(newer).rope_theta, 5e5f);

  for (const char* key : {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    nlohmann::json missing = json;
    missing["rope_scaling"].erase(key);
    ExpectRefused(missing, std::string("\"rope_scaling.") + key + "\" is missing");
    missing["rope_scaling"][key] = 0;
    ExpectRefused(missing, std::string("\"rope_scaling.") + key + "\" is 0");
  }
  json["rope_scaling"]["high_freq_factor"] = 1.0;
  ExpectRefused(json, "it must be above \"rope_scaling.low_freq_factor\"");
}

TEST(HfConfig, ReadsTheSlidingWindowWhereItIsUsed) {
  nlohmann::json mistral = Typed("mistral");
  EXPECT_EQ(Read(mistral).sliding_window, 4096);  // transformers' default
  mistral["sliding_window"] = nullptr;
  EXPECT_EQ(Read(mistral).sliding_window, 0);
  mistral["sliding_window"] = 1024;
  EXPECT_EQ(Read(mistral).sliding_window, 1024);
  nlohmann::json qwen = Typed("qwen2");
  qwen["sliding_window"] = 1024;
  EXPECT_EQ(Read(qwen).sliding_window, 0);
  qwen["use_sliding_window"] = true;
  EXPECT_EQ(Read(qwen).sliding_window, 1024);
}

TEST(HfConfig, NamesWhatIsMissing) {
  for (const char* key : {"model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size",
                          "max_position_embeddings", "num_attention_heads", "rms_norm_eps"}) {
    nlohmann::json json = Llama();
    json.erase(key);
    ExpectRefused(json, std::string("\"") + key + "\" is missing: use the file as published with the model");
  }
}

TEST(HfConfig, RefusesNumbersOutOfRangeAndOtherTypes) {
  for (const char* key : {"num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size",
                          "max_position_embeddings", "num_attention_heads", "num_key_value_heads", "head_dim"}) {
    for (const nlohmann::json& value :
         {nlohmann::json(0), nlohmann::json(-1), nlohmann::json(uint64_t{1} << 63), nlohmann::json(int64_t{1} << 40),
          nlohmann::json(2.5), nlohmann::json("2"), nlohmann::json(true), nlohmann::json::array({2})}) {
      ExpectRefused(With(key, value), std::string("\"") + key + "\" is ");
    }
  }
  for (const nlohmann::json& value : {nlohmann::json(0), nlohmann::json(-1.0), nlohmann::json(1e300),
                                      nlohmann::json("1"), nlohmann::json::object()}) {
    ExpectRefused(With("rms_norm_eps", value), "it must be a positive, finite number");
    ExpectRefused(With("rope_theta", value), "it must be a positive, finite number");
  }
  ExpectRefused(With("tie_word_embeddings", 1), "it must be true or false");
  ExpectRefused(With("model_type", 1), "\"model_type\" is 1, it must be a string");
  ExpectRefused(With("rope_scaling", "llama3"), "it must be an object");
}

TEST(HfConfig, RefusesHeadsThatDoNotGoTogether) {
  ExpectRefused(With("num_key_value_heads", 3), "4 query heads are not a multiple of 3 key/value heads");
  ExpectRefused(With("num_attention_heads", 6), "\"hidden_size\" 64 is not a multiple of \"num_attention_heads\" 6");
  ExpectRefused(With("head_dim", 3), "the head dimension 3 is not supported");
}

TEST(HfConfig, RefusesVariantsItWouldComputeWrongly) {
  ExpectRefused(Typed("gemma3_text"), "Gemma's sliding-window layers");
  ExpectRefused(Typed("mixtral"), "\"model_type\" \"mixtral\" is not supported: use a llama, qwen2, qwen3 or mistral");
  ExpectRefused(Typed(std::string("a\n\xc3\xa4", 4)), "\"a\\n\\xc3\\xa4\" is not supported");
  ExpectRefused(With("quantization_config", nlohmann::json::object()), "quantised safetensors are not supported");
  ExpectRefused(With("attention_bias", true), "\"attention_bias\" is true");
  ExpectRefused(With("mlp_bias", true), "\"mlp_bias\" is true");
  ExpectRefused(With("hidden_act", "gelu"), "\"hidden_act\" is \"gelu\"");
  ExpectRefused(With("partial_rotary_factor", 0.5), "\"partial_rotary_factor\" is 0.5");
  for (const char* type : {"linear", "dynamic", "yarn", "longrope"}) {
    ExpectRefused(With("rope_scaling", {{"rope_type", type}}), std::string("\"rope_scaling.rope_type\" is \"") + type);
    ExpectRefused(With("rope_scaling", {{"type", type}}), type);
  }
}

}  // namespace
}  // namespace slimfill::engine
