// Small damage to good files: whatever it does, the reader answers with a model or an error, and never reads outside
// the file (the sanitizers watch). Deterministic; coverage-guided fuzzing is in tests/fuzz.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/gguf.h"
#include "engine/model/weights.h"
#include "tests/support/tiny_model.h"

namespace slimfill::engine {
namespace {

constexpr int kMutationsPerFile = 3000;

struct Outcomes {
  int refused_by_reader = 0;
  int refused_by_config = 0;
  int refused_by_weights = 0;
  int loaded = 0;
};

void ReadEverything(const GgufFile& file, const ModelConfig& config, const ModelWeights& weights) {
  std::vector<float> row(config.hidden);
  weights.embedding.ReadRow(config.vocab - 1, absl::MakeSpan(row));
  weights.output.ReadRow(0, absl::MakeSpan(row));
  for (const LayerWeights& layer : weights.layers) {
    layer.qkv.ReadRow(layer.qkv.rows() - 1, absl::MakeSpan(row));
    layer.gate_up.ReadRow(layer.gate_up.rows() - 1, absl::MakeSpan(row));
  }
}

void Load(const std::vector<std::byte>& bytes, Outcomes& outcomes) {
  const auto file = GgufFile::Parse(bytes, "mutated.gguf");
  if (!file.ok()) {
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << file.status();
    ++outcomes.refused_by_reader;
    return;
  }
  const auto config = ReadModelConfig(**file);
  if (!config.ok()) {
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << config.status();
    ++outcomes.refused_by_config;
    return;
  }
  const auto weights = ReadModelWeights(**file, *config);
  if (!weights.ok()) {
    EXPECT_EQ(weights.status().code(), absl::StatusCode::kInvalidArgument) << weights.status();
    ++outcomes.refused_by_weights;
    return;
  }
  ReadEverything(**file, *config, *weights);
  ++outcomes.loaded;
}

// Values at which sizes and counts tend to break.
constexpr uint64_t kAwkward[] = {0,
                                 1,
                                 31,
                                 uint64_t{1} << 16,
                                 uint64_t{1} << 31,
                                 uint64_t{1} << 32,
                                 uint64_t{1} << 61,
                                 uint64_t{1} << 62,
                                 (uint64_t{1} << 63) - 1,
                                 uint64_t{1} << 63,
                                 (uint64_t{1} << 63) + 64,
                                 UINT64_MAX - 31,
                                 UINT64_MAX};

std::vector<std::byte> Mutate(const std::vector<std::byte>& good, size_t header_bytes, std::mt19937_64& random) {
  std::vector<std::byte> bytes = good;
  const size_t at = random() % (header_bytes - 8);
  switch (random() % 4) {
    case 0:  // one bit
      bytes[at] ^= static_cast<std::byte>(1u << random() % 8);
      break;
    case 1:  // one byte
      bytes[at] = static_cast<std::byte>(random());
      break;
    case 2: {  // a count, a length or an offset
      const uint64_t value = kAwkward[random() % std::size(kAwkward)];
      std::memcpy(bytes.data() + at, &value, random() % 2 == 0 ? 4 : 8);
      break;
    }
    case 3:  // cut off, or bytes lost in between
      if (random() % 2 == 0) {
        bytes.resize(random() % bytes.size());
      } else {
        bytes.erase(bytes.begin() + static_cast<ptrdiff_t>(at),
                    bytes.begin() + static_cast<ptrdiff_t>(at + 1 + random() % 7));
      }
      break;
  }
  return bytes;
}

class GgufMutationTest : public ::testing::TestWithParam<Architecture> {};

TEST_P(GgufMutationTest, DamagedFileIsReadOrRefused) {
  slimfill::testing::TinyModelOptions options;
  options.architecture = GetParam();
  options.layers = 1;
  options.hidden = 16;
  options.heads = 2;
  options.kv_heads = 1;
  options.head_dim = 8;
  options.ffn = 16;
  options.rope_frequency_divisors = true;
  const std::vector<std::byte> good = slimfill::testing::MakeTinyModelGguf(options);
  const auto file = GgufFile::Parse(good, "good.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  const size_t header_bytes = static_cast<size_t>((*file)->tensors().front().bytes.data() - good.data());

  std::mt19937_64 random(20240611);
  Outcomes outcomes;
  for (int i = 0; i < kMutationsPerFile; ++i) Load(Mutate(good, header_bytes, random), outcomes);
  // Mutations reach every stage: otherwise this test would look at less than it says.
  EXPECT_GT(outcomes.refused_by_reader, kMutationsPerFile / 4);
  EXPECT_GT(outcomes.refused_by_config, 10);
  EXPECT_GT(outcomes.refused_by_weights, 10);
  EXPECT_GT(outcomes.loaded, 100);
}

INSTANTIATE_TEST_SUITE_P(Architectures, GgufMutationTest, ::testing::Values(Architecture::kLlama, Architecture::kQwen2),
                         [](const auto& info) { return std::string(ArchitectureName(info.param)); });

}  // namespace
}  // namespace slimfill::engine
