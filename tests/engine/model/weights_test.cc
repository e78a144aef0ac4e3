#include "engine/model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
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
using ::testing::SizeIs;

std::vector<float> Row(const WeightMatrix& matrix, int64_t row) {
  std::vector<float> values(matrix.cols());
  matrix.ReadRow(row, absl::MakeSpan(values));
  return values;
}

// Row `row` of an F32 tensor, straight from the file.
std::vector<float> FileRow(const GgufFile& file, const std::string& name, int64_t row) {
  const StoredTensor* tensor = file.FindTensor(name);
  std::vector<float> values(tensor->cols());
  const size_t bytes = values.size() * sizeof(float);
  std::memcpy(values.data(), tensor->bytes.data() + row * bytes, bytes);
  return values;
}

// A tiny model kept in memory, loaded.
struct Loaded {
  explicit Loaded(const TinyModelOptions& options) : bytes(MakeTinyModelGguf(options)) {
    auto parsed = GgufFile::Parse(bytes, "tiny.gguf");
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    file = *std::move(parsed);
    config = *ReadModelConfig(*file);
    auto read = ReadModelWeights(*file, config);
    EXPECT_TRUE(read.ok()) << read.status();
    weights = *std::move(read);
  }
  std::vector<std::byte> bytes;
  std::unique_ptr<GgufFile> file;
  ModelConfig config;
  ModelWeights weights;
};

TEST(ModelWeights, StacksQkvAndGateUpInOrder) {
  TinyModelOptions options;
  options.layers = 2;
  const Loaded model(options);
  ASSERT_THAT(model.weights.layers, SizeIs(2));
  const LayerWeights& layer = model.weights.layers[1];
  EXPECT_EQ(layer.qkv.rows(), 64 + 32 + 32);
  EXPECT_EQ(layer.qkv.cols(), 64);
  EXPECT_EQ(Row(layer.qkv, 63), FileRow(*model.file, "blk.1.attn_q.weight", 63));
  EXPECT_EQ(Row(layer.qkv, 64), FileRow(*model.file, "blk.1.attn_k.weight", 0));
  EXPECT_EQ(Row(layer.qkv, 95), FileRow(*model.file, "blk.1.attn_k.weight", 31));
  EXPECT_EQ(Row(layer.qkv, 96), FileRow(*model.file, "blk.1.attn_v.weight", 0));
  EXPECT_EQ(Row(layer.qkv, 127), FileRow(*model.file, "blk.1.attn_v.weight", 31));
  EXPECT_EQ(layer.gate_up.rows(), 256);
  EXPECT_EQ(Row(layer.gate_up, 127), FileRow(*model.file, "blk.1.ffn_gate.weight", 127));
  EXPECT_EQ(Row(layer.gate_up, 128), FileRow(*model.file, "blk.1.ffn_up.weight", 0));
  EXPECT_EQ(Row(layer.attention_out, 5), FileRow(*model.file, "blk.1.attn_output.weight", 5));
  EXPECT_EQ(layer.ffn_down.cols(), 128);
  EXPECT_EQ(Row(layer.ffn_down, 63), FileRow(*model.file, "blk.1.ffn_down.weight", 63));
  EXPECT_EQ(layer.attention_norm, FileRow(*model.file, "blk.1.attn_norm.weight", 0));
  EXPECT_EQ(layer.ffn_norm, FileRow(*model.file, "blk.1.ffn_norm.weight", 0));
  EXPECT_EQ(model.weights.output_norm, FileRow(*model.file, "output_norm.weight", 0));
}

TEST(ModelWeights, Qwen2BiasesAreQThenKThenV) {
  const Loaded model(TinyModelOptions{});
  std::vector<float> expected = FileRow(*model.file, "blk.0.attn_q.bias", 0);
  for (const char* name : {"blk.0.attn_k.bias", "blk.0.attn_v.bias"}) {
    const std::vector<float> part = FileRow(*model.file, name, 0);
    expected.insert(expected.end(), part.begin(), part.end());
  }
  EXPECT_EQ(model.weights.layers[0].qkv_bias, expected);
}

// Llama files hold each rotation pair side by side: file rows 0 1 2 3 .. of a head are HF rows 0 d/2 1 d/2+1 ..
TEST(ModelWeights, LlamaQueryAndKeyRowsAreUnInterleaved) {
  TinyModelOptions options;
  options.architecture = Architecture::kLlama;
  const Loaded model(options);
  const WeightMatrix& qkv = model.weights.layers[0].qkv;
  const int64_t half = 8;
  for (int64_t head = 0; head < 4; ++head) {
    for (int64_t i = 0; i < half; ++i) {
      const int64_t base = head * 16;
      EXPECT_EQ(Row(qkv, base + i), FileRow(*model.file, "blk.0.attn_q.weight", base + 2 * i));
      EXPECT_EQ(Row(qkv, base + half + i), FileRow(*model.file, "blk.0.attn_q.weight", base + 2 * i + 1));
    }
  }
  EXPECT_EQ(Row(qkv, 64 + 16 + 3), FileRow(*model.file, "blk.0.attn_k.weight", 16 + 6));
  EXPECT_EQ(Row(qkv, 64 + 16 + 11), FileRow(*model.file, "blk.0.attn_k.weight", 16 + 7));
  EXPECT_EQ(Row(qkv, 96 + 3), FileRow(*model.file, "blk.0.attn_v.weight", 3));
  EXPECT_THAT(model.weights.layers[0].qkv_bias, IsEmpty());
}

// A complete one-layer model of width 4 with one head, to which a test adds what it is about.
struct SmallModel {
  std::string architecture = "llama";
  std::vector<std::pair<std::string, std::vector<uint64_t>>> tensors = {
      {"token_embd.weight", {4, 3}},     {"blk.0.attn_norm.weight", {4}},   {"blk.0.attn_q.weight", {4, 4}},
      {"blk.0.attn_k.weight", {4, 4}},   {"blk.0.attn_v.weight", {4, 4}},   {"blk.0.attn_output.weight", {4, 4}},
      {"blk.0.ffn_norm.weight", {4}},    {"blk.0.ffn_gate.weight", {4, 8}}, {"blk.0.ffn_up.weight", {4, 8}},
      {"blk.0.ffn_down.weight", {8, 4}}, {"output_norm.weight", {4}}};

  std::vector<std::byte> Build() const {
    GgufBuilder builder;
    builder.SetString("general.architecture", architecture);
    const std::vector<std::pair<const char*, uint32_t>> ints = {{"block_count", 1},
                                                                {"context_length", 64},
                                                                {"embedding_length", 4},
                                                                {"feed_forward_length", 8},
                                                                {"attention.head_count", 1}};
    for (const auto& [key, value] : ints) builder.SetInt(architecture + "." + key, value);
    builder.SetFloat(architecture + ".attention.layer_norm_rms_epsilon", 1e-5f);
    for (const auto& [name, shape] : tensors) {
      uint64_t elements = 1;
      for (const uint64_t size : shape) elements *= size;
      std::vector<float> values(elements);
      for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
      builder.AddF32(name, shape, values);
    }
    return builder.Build();
  }
};

absl::Status LoadStatus(const SmallModel& model) {
  const std::vector<std::byte> bytes = model.Build();
  const auto file = GgufFile::Parse(bytes, "small.gguf");
  if (!file.ok()) return file.status();
  const auto config = ReadModelConfig(**file);
  if (!config.ok()) return config.status();
  return ReadModelWeights(**file, *config).status();
}

void ExpectRefused(const SmallModel& model, const std::string& text) {
  const absl::Status status = LoadStatus(model);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(text));
}

TEST(ModelWeights, LlamaBiasesAreUnInterleavedToo) {
  SmallModel model;
  for (const char* name : {"blk.0.attn_q.bias", "blk.0.attn_k.bias", "blk.0.attn_v.bias"}) {
    model.tensors.push_back({name, {4}});
  }
  const std::vector<std::byte> bytes = model.Build();
  const auto file = GgufFile::Parse(bytes, "small.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto weights = ReadModelWeights(**file, *ReadModelConfig(**file));
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(weights->layers[0].qkv_bias, ElementsAre(0, 2, 1, 3, 0, 2, 1, 3, 0, 1, 2, 3));
}

TEST(ModelWeights, TiedOutputIsTheEmbedding) {
  const Loaded model(TinyModelOptions{});
  EXPECT_EQ(model.weights.output.parts()[0].tensor, model.file->FindTensor("token_embd.weight"));
}

TEST(ModelWeights, UntiedOutputIsItsOwn) {
  TinyModelOptions options;
  options.tied_embeddings = false;
  const Loaded model(options);
  EXPECT_EQ(Row(model.weights.output, 7), FileRow(*model.file, "output.weight", 7));
}

TEST(ModelWeights, HeadDimensionNeedNotDivideTheWidth) {
  TinyModelOptions options;
  options.head_dim = 64;
  const Loaded model(options);
  EXPECT_EQ(model.weights.layers[0].qkv.rows(), (4 + 2 + 2) * 64);
  EXPECT_EQ(model.weights.layers[0].attention_out.cols(), 4 * 64);
}

TEST(ModelWeights, NamesEachMissingTensor) {
  ASSERT_TRUE(LoadStatus(SmallModel()).ok()) << LoadStatus(SmallModel());
  for (size_t i = 0; i < SmallModel().tensors.size(); ++i) {
    SmallModel model;
    const std::string name = model.tensors[i].first;
    model.tensors.erase(model.tensors.begin() + static_cast<ptrdiff_t>(i));
    ExpectRefused(model, "\"" + name + "\" is missing");
  }
}

TEST(ModelWeights, NamesEachTensorOfWrongShape) {
  for (size_t i = 0; i < SmallModel().tensors.size(); ++i) {
    for (size_t dimension = 0; dimension < SmallModel().tensors[i].second.size(); ++dimension) {
      SmallModel model;
      if (i == 0 && dimension == 1) continue;  // any vocabulary is right
      model.tensors[i].second[dimension] += 4;
      ExpectRefused(model, "\"" + model.tensors[i].first + "\" has the shape");
    }
    SmallModel model;
    model.tensors[i].second.push_back(1);
    ExpectRefused(model, "\"" + model.tensors[i].first + "\" has the shape");
  }
}

TEST(ModelWeights, RefusesBiasInOnlySomeOfTheProjections) {
  SmallModel model;
  model.tensors.push_back({"blk.0.attn_q.bias", {4}});
  ExpectRefused(model, "\"blk.0.attn_k.bias\" is missing");
}

// A tensor that the forward pass would pass over in silence changes what the model says.
TEST(ModelWeights, RefusesTensorsItDoesNotUse) {
  for (const char* name : {"blk.0.attn_output.bias", "blk.0.attn_q_norm.weight", "blk.1.attn_norm.weight"}) {
    SmallModel model;
    model.tensors.push_back({name, {4}});
    ExpectRefused(model, std::string("\"") + name + "\" is not part of a llama model of 1 layers");
  }
}

TEST(WeightMatrixDeathTest, RefusesRowsOutOfRange) {
  const Loaded model(TinyModelOptions{});
  std::vector<float> row(64);
  const WeightMatrix& matrix = model.weights.layers[0].qkv;
  EXPECT_DEATH(matrix.ReadRow(-1, absl::MakeSpan(row)), "internal error");
  EXPECT_DEATH(matrix.ReadRow(matrix.rows(), absl::MakeSpan(row)), "internal error");
  EXPECT_DEATH(matrix.ReadRow(0, absl::MakeSpan(row).first(32)), "internal error");
}

}  // namespace
}  // namespace slimfill::engine
