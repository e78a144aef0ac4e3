// The real models' logits and greedy answers against Hugging Face transformers (tests/golden/README.md).
#include <cmath>
#include <cstdio>

#include "absl/strings/match.h"
#include "engine/kv/layer_kv.h"
#include "engine/model/forward.h"
#include "engine/model/model.h"
#include "engine/ops/backend_factory.h"
#include "gtest/gtest.h"
#include "tests/support/golden.h"

namespace slimfill::engine {
namespace {

constexpr int64_t kChunk = 512;

struct Case {
  const char* golden;
  const char* model;
  const char* backend;
  const char* linear;
  int64_t max_prompt;  // longer ones take too long on this backend
  // Root mean square of the differences to the reference's logits, over their standard deviation.
  double max_relative_error;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.golden << " on " << c.backend << ", " << c.linear; }

// A dense pass over one prompt, and decode after it.
class DenseRun {
 public:
  DenseRun(const Model& model, Backend& backend)
      : model_(model),
        backend_(backend),
        pool_(backend, metrics_, backend.KvPageBytes(model.shape()), 1 << 20),
        forward_(*Forward::Create(model, backend, kChunk)) {
    for (int i = 0; i < model.config().layers; ++i) kv_.emplace_back(pool_);
  }

  // Logits after the last of `tokens`, which follow those of earlier calls.
  std::vector<float> Logits(absl::Span<const TokenId> tokens) {
    const int64_t hidden_cols = model_.config().hidden;
    std::vector<float> logits(model_.config().vocab);
    for (size_t first = 0; first < tokens.size(); first += kChunk) {
      const absl::Span<const TokenId> chunk = tokens.subspan(first, kChunk);
      const int64_t rows = static_cast<int64_t>(chunk.size());
      std::vector<int32_t> positions;
      for (int64_t i = 0; i < rows; ++i) positions.push_back(static_cast<int32_t>(next_++));
      const auto buffer = *backend_.Allocate(rows * hidden_cols * 4);
      const Matrix hidden = buffer->As(DType::kF32, rows, hidden_cols);
      forward_->Embed(chunk, hidden);
      for (int layer = 0; layer < model_.config().layers; ++layer) {
        for (int block = positions.front() / kBlockTokens; block <= positions.back() / kBlockTokens; ++block) {
          EXPECT_TRUE(kv_[layer].Append(block).ok());
        }
        forward_->PrefillAttention(layer, positions, kv_[layer].view(), nullptr, hidden);
        forward_->Ffn(layer, hidden);
      }
      EXPECT_TRUE(forward_->Logits(hidden.Rows(rows - 1, 1), absl::MakeSpan(logits)).ok());
    }
    return logits;
  }

 private:
  const Model& model_;
  Backend& backend_;
  Metrics metrics_;
  PagePool pool_;
  std::unique_ptr<Forward> forward_;
  std::vector<LayerKv> kv_;
  int64_t next_ = 0;
};

class RealModelTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    golden_ = testing::ReadGolden(std::string("logits/") + GetParam().golden);
    const std::string path = testing::ModelPath(GetParam().model);
    auto file = GgufFile::Open(path);
    ASSERT_TRUE(file.ok()) << testing::MissingModelText(path);
    backend_ = *MakeBackend(GetParam().backend, {.linear = GetParam().linear});
    auto model = Model::Load(*std::move(file), *backend_, 4096, nullptr);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  nlohmann::json golden_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
};

TokenId Argmax(const std::vector<float>& logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

TEST_P(RealModelTest, LogitsAndGreedyAnswersEqualTransformers) {
  int prompts = 0, tokens_equal = 0, tokens_compared = 0;
  double worst = 0;
  for (const auto& prompt : golden_["prompts"]) {
    const auto tokens = prompt["tokens"].get<std::vector<TokenId>>();
    if (static_cast<int64_t>(tokens.size()) > GetParam().max_prompt) continue;
    const std::string name = prompt["name"];
    DenseRun run(*model_, *backend_);
    std::vector<float> logits = run.Logits(tokens);
    const double deviation = prompt["logits_std"];
    const auto expected = prompt["sample_logits"].get<std::vector<double>>();
    const int64_t stride = prompt["sample_stride"];
    double squares = 0;
    for (size_t i = 0; i < expected.size(); ++i) squares += std::pow(logits[i * stride] - expected[i], 2);
    const double error = std::sqrt(squares / static_cast<double>(expected.size())) / deviation;
    EXPECT_LT(error, GetParam().max_relative_error) << name;
    worst = std::max(worst, error);
    ++prompts;

    // Greedy tokens must be equal until one whose margin is within our error.
    const auto greedy = prompt["greedy"].get<std::vector<TokenId>>();
    const auto margins = prompt["greedy_margins"].get<std::vector<double>>();
    const double tolerance = 6 * GetParam().max_relative_error * deviation;
    for (size_t i = 0; i < greedy.size(); ++i) {
      const TokenId token = Argmax(logits);
      ++tokens_compared;
      tokens_equal += token == greedy[i];
      if (token != greedy[i]) {
        EXPECT_LT(margins[i], tolerance) << name << ": greedy token " << i;
        break;
      }
      logits = run.Logits({&token, 1});
    }
  }
  EXPECT_GE(prompts, 2);
  std::printf("%s on %s, %s: %d prompts, worst logits error %.2g of their deviation, greedy tokens %d of %d equal\n",
              GetParam().golden, GetParam().backend, GetParam().linear, prompts, worst, tokens_equal, tokens_compared);
}

constexpr char kQwenGolden[] = "qwen2.5-coder-0.5b.json";
constexpr char kSmolGolden[] = "smollm2-135m.json";

INSTANTIATE_TEST_SUITE_P(Models, RealModelTest,
                         ::testing::Values(Case{kQwenGolden, testing::kQwenModelFile, "ref", "bf16", 64, 1e-4},
                                           Case{kSmolGolden, testing::kSmolModelFile, "ref", "bf16", 64, 1e-4},
                                           Case{kQwenGolden, testing::kQwenModelFile, "cpu", "bf16", 4096, 0.03},
                                           Case{kSmolGolden, testing::kSmolModelFile, "cpu", "bf16", 4096, 0.05},
                                           Case{kQwenGolden, testing::kQwenModelFile, "cpu", "int8", 4096, 0.07},
                                           Case{kSmolGolden, testing::kSmolModelFile, "cpu", "int8", 4096, 0.2}),
                         [](const auto& info) {
                           return std::string(absl::StrContains(info.param.golden, "qwen") ? "Qwen_" : "SmolLM2_") +
                                  info.param.backend + "_" + info.param.linear;
                         });

}  // namespace
}  // namespace slimfill::engine
