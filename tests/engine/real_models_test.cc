// The real models' logits and greedy answers against Hugging Face transformers (tests/golden/README.md).
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/match.h"
#include "engine/ops/backend_factory.h"
#include "gtest/gtest.h"
#include "tests/engine/dense_run.h"
#include "tests/support/golden.h"

namespace slimfill::engine {
namespace {

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

class RealModelTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    golden_ = testing::ReadGolden(std::string("logits/") + GetParam().golden);
    const std::vector<std::string> backends = AvailableBackends();
    // cuda: without a GPU it runs in preset cuda-emulated.
    if (std::find(backends.begin(), backends.end(), GetParam().backend) == backends.end()) {
      GTEST_SKIP() << "this build or machine has no backend " << GetParam().backend;
    }
    const std::string path = testing::ModelPath(GetParam().model);
    auto source = OpenModel(path);
    ASSERT_TRUE(source.ok()) << testing::MissingModelText(path);
    backend_ = *MakeBackend(GetParam().backend, {.linear = GetParam().linear});
    auto model = Model::Load(*std::move(source), *backend_, 4096, nullptr);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  nlohmann::json golden_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
};

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
                                           Case{kSmolGolden, testing::kSmolModelFile, "cuda", "bf16", 64, 0.05},
                                           Case{kQwenGolden, testing::kQwenModelFile, "cpu", "int8", 4096, 0.07},
                                           Case{kSmolGolden, testing::kSmolModelFile, "cpu", "int8", 4096, 0.2}),
                         [](const auto& info) {
                           return std::string(absl::StrContains(info.param.golden, "qwen") ? "Qwen_" : "SmolLM2_") +
                                  info.param.backend + "_" + info.param.linear;
                         });

}  // namespace
}  // namespace slimfill::engine
