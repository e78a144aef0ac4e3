// The real models, as scripts/setup.sh fetches them.
#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/gguf.h"
#include "engine/model/weights.h"
#include "tests/support/golden.h"

namespace slimfill::engine {
namespace {

struct Expected {
  std::string file;
  std::string golden;
  ModelConfig config;
  size_t tensors;
};
void PrintTo(const Expected& expected, std::ostream* out) { *out << expected.file; }

Expected Qwen() {
  Expected expected{slimfill::testing::kQwenModelFile, "logits/qwen2.5-coder-0.5b.json", {}, 291};
  ModelConfig& config = expected.config;
  config.architecture = Architecture::kQwen2;
  config.layers = 24;
  config.hidden = 896;
  config.heads = 14;
  config.kv_heads = 2;
  config.head_dim = 64;
  config.ffn = 4864;
  config.vocab = 151936;
  config.context = 32768;
  config.rms_epsilon = 1e-6f;
  config.rope_theta = 1e6f;
  config.tied_embeddings = false;  // the file holds the output matrix once more, in Q8_0
  config.qkv_bias = true;
  return expected;
}

Expected Smol() {
  Expected expected{slimfill::testing::kSmolModelFile, "logits/smollm2-135m.json", {}, 272};
  ModelConfig& config = expected.config;
  config.architecture = Architecture::kLlama;
  config.layers = 30;
  config.hidden = 576;
  config.heads = 9;
  config.kv_heads = 3;
  config.head_dim = 64;
  config.ffn = 1536;
  config.vocab = 49152;
  config.context = 8192;
  config.rms_epsilon = 1e-5f;
  config.rope_theta = 1e5f;
  config.tied_embeddings = true;
  config.qkv_bias = false;
  return expected;
}

const WeightMatrix& Find(const ModelWeights& weights, const std::string& name, int layer) {
  if (name == "embedding") return weights.embedding;
  if (name == "output") return weights.output;
  const LayerWeights& layer_weights = weights.layers.at(layer);
  if (name == "qkv") return layer_weights.qkv;
  if (name == "attention_out") return layer_weights.attention_out;
  if (name == "gate_up") return layer_weights.gate_up;
  EXPECT_EQ(name, "ffn_down");
  return layer_weights.ffn_down;
}

class RealModelTest : public ::testing::TestWithParam<Expected> {
 protected:
  void SetUp() override {
    const std::string path = slimfill::testing::ModelPath(GetParam().file);
    auto file = GgufFile::Open(path);
    ASSERT_FALSE(absl::IsNotFound(file.status())) << slimfill::testing::MissingModelText(path);
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
  }
  std::unique_ptr<GgufFile> file_;
};

TEST_P(RealModelTest, ConfigIsAsPublished) {
  const auto config = ReadModelConfig(*file_);
  ASSERT_TRUE(config.ok()) << config.status();
  const ModelConfig& expected = GetParam().config;
  EXPECT_FALSE(config->name.empty());
  EXPECT_EQ(config->architecture, expected.architecture);
  EXPECT_EQ(config->layers, expected.layers);
  EXPECT_EQ(config->hidden, expected.hidden);
  EXPECT_EQ(config->heads, expected.heads);
  EXPECT_EQ(config->kv_heads, expected.kv_heads);
  EXPECT_EQ(config->head_dim, expected.head_dim);
  EXPECT_EQ(config->ffn, expected.ffn);
  EXPECT_EQ(config->vocab, expected.vocab);
  EXPECT_EQ(config->context, expected.context);
  EXPECT_EQ(config->rms_epsilon, expected.rms_epsilon);
  EXPECT_EQ(config->rope_theta, expected.rope_theta);
  EXPECT_EQ(config->tied_embeddings, expected.tied_embeddings);
  EXPECT_EQ(config->qkv_bias, expected.qkv_bias);
  EXPECT_TRUE(config->rope_frequency_divisors.empty());
}

TEST_P(RealModelTest, IsTheFileTheGoldensBelongTo) {
  const nlohmann::json golden = slimfill::testing::ReadGolden(GetParam().golden);
  EXPECT_EQ(file_->Sha256Hex(), golden.at("model_sha256").get<std::string>());
}

TEST_P(RealModelTest, EveryTensorIsFoundAndUsed) {
  EXPECT_EQ(file_->tensors().size(), GetParam().tensors);
  const auto config = ReadModelConfig(*file_);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto weights = ReadModelWeights(*file_, *config);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->layers.size(), static_cast<size_t>(config->layers));
  EXPECT_EQ(weights->embedding.rows(), config->vocab);
  EXPECT_EQ(weights->embedding.cols(), config->hidden);
  for (const LayerWeights& layer : weights->layers) {
    EXPECT_EQ(layer.qkv.rows(), (config->heads + 2 * config->kv_heads) * config->head_dim);
    EXPECT_EQ(layer.qkv_bias.size(), config->qkv_bias ? static_cast<size_t>(layer.qkv.rows()) : 0u);
    EXPECT_EQ(layer.gate_up.rows(), 2 * config->ffn);
  }
}

// Rows as the reference implementation holds them, after its own reordering of llama's query and key rows.
TEST_P(RealModelTest, WeightsEqualTheReferencesBitForBit) {
  const auto config = ReadModelConfig(*file_);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto weights = ReadModelWeights(*file_, *config);
  ASSERT_TRUE(weights.ok()) << weights.status();
  const nlohmann::json golden = slimfill::testing::ReadGolden(GetParam().golden);
  ASSERT_GE(golden.at("weights").size(), 50u);
  for (const nlohmann::json& entry : golden.at("weights")) {
    const std::string name = entry.at("matrix").get<std::string>();
    const int layer = entry.at("layer").get<int>();
    const int64_t row = entry.at("row").get<int64_t>();
    const WeightMatrix& matrix = Find(*weights, name, layer);
    std::vector<float> values(matrix.cols());
    matrix.ReadRow(row, absl::MakeSpan(values));
    const std::vector<float> head = entry.at("head").get<std::vector<float>>();
    const std::vector<float> tail = entry.at("tail").get<std::vector<float>>();
    EXPECT_EQ(std::vector<float>(values.begin(), values.begin() + head.size()), head) << name << layer << " " << row;
    EXPECT_EQ(std::vector<float>(values.end() - tail.size(), values.end()), tail) << name << layer << " " << row;
  }
  for (const nlohmann::json& entry : golden.at("vectors")) {
    const LayerWeights& layer = weights->layers.at(entry.at("layer").get<size_t>());
    const std::string name = entry.at("vector").get<std::string>();
    const std::vector<float>& values = name == "qkv_bias"         ? layer.qkv_bias
                                       : name == "attention_norm" ? layer.attention_norm
                                                                  : layer.ffn_norm;
    const std::vector<float> sample = entry.at("every_29th").get<std::vector<float>>();
    for (size_t i = 0; i < sample.size(); ++i) EXPECT_EQ(values.at(29 * i), sample[i]) << name << " " << 29 * i;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RealModelTest, ::testing::Values(Qwen(), Smol()), [](const auto& info) {
  return std::string(ArchitectureName(info.param.config.architecture));
});

}  // namespace
}  // namespace slimfill::engine
