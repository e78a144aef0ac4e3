// Tiny models as Hugging Face writes them (tests/golden/models) against transformers: logits, greedy answers, tokens
// and chats; and pruned prefill on them against its definition.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/clock.h"
#include "engine/ops/backend_factory.h"
#include "engine/pruned_engine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/core/local_store.h"
#include "tests/engine/dense_run.h"
#include "tests/support/golden.h"
#include "tests/support/naive_decoder.h"
#include "tests/support/tiny_model.h"

namespace slimfill::engine {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kContext = 512;

std::unique_ptr<ModelSource> Open(const std::string& name) {
  auto source = OpenModel(testing::GoldenPath("models/" + name));
  EXPECT_TRUE(source.ok()) << source.status();
  return *std::move(source);
}

class TinyModelsTest : public ::testing::TestWithParam<const char*> {
 protected:
  const std::string name_ = GetParam();
  const nlohmann::json golden_ = testing::ReadGolden("models/" + name_ + ".json");
};

INSTANTIATE_TEST_SUITE_P(Models, TinyModelsTest, ::testing::Values("qwen2", "qwen3", "llama", "mistral"),
                         [](const auto& info) { return std::string(info.param); });

double Deviation(const std::vector<double>& values) {
  double mean = 0, squares = 0;
  for (const double value : values) mean += value / static_cast<double>(values.size());
  for (const double value : values) squares += std::pow(value - mean, 2);
  return std::sqrt(squares / static_cast<double>(values.size()));
}

// Root mean square of the differences, over the reference's deviation.
double RelativeError(const std::vector<float>& got, const std::vector<double>& want) {
  double squares = 0;
  for (size_t i = 0; i < want.size(); ++i) squares += std::pow(got[i] - want[i], 2);
  return std::sqrt(squares / static_cast<double>(want.size())) / Deviation(want);
}

void CompareWithTransformers(const std::string& name, const nlohmann::json& golden, const char* backend_name,
                             double max_error) {
  const std::unique_ptr<Backend> backend = *MakeBackend(backend_name, {});
  auto model = Model::Load(Open(name), *backend, kContext, nullptr);
  ASSERT_TRUE(model.ok()) << model.status();
  double worst = 0;
  for (const auto& prompt : golden["prompts"]) {
    DenseRun run(**model, *backend);
    const auto tokens = prompt["tokens"].get<std::vector<TokenId>>();
    const auto expected = prompt["logits"].get<std::vector<double>>();
    std::vector<float> logits = run.Logits(tokens);
    ASSERT_EQ(logits.size(), expected.size());
    const double error = RelativeError(logits, expected);
    EXPECT_LT(error, max_error) << tokens.size() << " tokens";
    worst = std::max(worst, error);
    // Greedy tokens must be equal until one whose margin is within our error.
    const auto greedy = prompt["greedy"].get<std::vector<TokenId>>();
    const auto margins = prompt["greedy_margins"].get<std::vector<double>>();
    for (size_t i = 0; i < greedy.size(); ++i) {
      const TokenId token = Argmax(logits);
      if (token != greedy[i]) {
        EXPECT_LT(margins[i], 6 * max_error * Deviation(expected)) << "greedy token " << i;
        break;
      }
      logits = run.Logits({&token, 1});
    }
  }
  std::printf("%s on %s: worst logits error %.2g of their deviation\n", name.c_str(), backend_name, worst);
}

bool Available(const std::string& backend) {
  const std::vector<std::string> names = AvailableBackends();
  return std::find(names.begin(), names.end(), backend) != names.end();
}

TEST_P(TinyModelsTest, ReferenceBackendEqualsTransformers) { CompareWithTransformers(name_, golden_, "ref", 1e-4); }

TEST_P(TinyModelsTest, CpuBackendIsWithinBf16OfTransformers) { CompareWithTransformers(name_, golden_, "cpu", 0.03); }

TEST_P(TinyModelsTest, CudaBackendIsWithinBf16OfTransformers) {
  // Without a GPU it runs in preset cuda-emulated.
  if (!Available("cuda")) GTEST_SKIP() << "this build or machine has no CUDA backend";
  CompareWithTransformers(name_, golden_, "cuda", 0.03);
}

TEST_P(TinyModelsTest, TokenizerEqualsTransformers) {
  const auto source = Open(name_);
  const auto tokenizer = source->MakeTokenizer();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->add_bos(), golden_["bos_first"].get<bool>());
  EXPECT_EQ((*tokenizer)->vocab_size(), source->config().vocab);
  for (const auto& entry : golden_["texts"]) {
    const std::string text = entry["text"];
    EXPECT_EQ(*(*tokenizer)->Encode(text, /*parse_special=*/false), entry["plain"].get<std::vector<TokenId>>()) << text;
    EXPECT_EQ(*(*tokenizer)->Encode(text, /*parse_special=*/true), entry["control"].get<std::vector<TokenId>>())
        << text;
  }
}

TEST_P(TinyModelsTest, ChatsEqualTransformers) {
  const auto source = Open(name_);
  const auto tokenizer = *source->MakeTokenizer();
  const auto chat = source->MakeChatTemplate(*tokenizer);
  if (golden_["chats"].empty()) {
    EXPECT_TRUE(absl::IsNotFound(chat.status())) << chat.status();
    return;
  }
  ASSERT_TRUE(chat.ok()) << chat.status();
  for (const auto& entry : golden_["chats"]) {
    std::vector<ChatMessage> messages;
    for (const auto& message : entry["messages"]) messages.push_back({message["role"], message["content"]});
    const auto rendered = chat->Render(messages);
    ASSERT_TRUE(rendered.ok()) << rendered.status();
    EXPECT_EQ(rendered->tokens, entry["ids"].get<std::vector<TokenId>>()) << entry["messages"];
  }
}

constexpr char kPlan[] = R"({
  "attention_layers": 1, "min_blocks": 1, "local_blocks": [{"up_to_tokens": 0, "blocks": 1}],
  "stages": [{"prune_layer": 0, "keep_ratio": 0.5, "score": "attention"}]})";

// The engine's first token of a prompt of 375 tokens, pruned by kPlan.
struct Pruned {
  std::vector<TokenId> prompt;
  PrefillReport report;
  TokenEvent first;
};

void RunPruned(const std::string& name, const nlohmann::json& golden, const char* backend, Pruned& pruned) {
  SystemClock clock;
  Metrics metrics;
  const auto store = *kvstore::LocalKvStore::Create({}, clock, nullptr);
  const std::string plan = kPlan;
  const auto* bytes = reinterpret_cast<const std::byte*>(plan.data());
  PrunedEngineOptions options;
  options.model_path = testing::GoldenPath("models/" + name + "/");  // completion leaves the slash
  options.plan = testing::WriteTemporaryFile("plan.json", {bytes, bytes + plan.size()});
  options.kv_pages_bytes = 64 << 20;
  auto engine = MakePrunedEngine(options, *MakeBackend(backend, {}), *store, metrics);
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_EQ((*engine)->info().max_context, kContext);
  EXPECT_EQ((*engine)->info().model.name, name);
  EXPECT_EQ((*engine)->info().model_file, testing::GoldenPath("models/" + name));
  for (const auto& prompt : golden["prompts"]) {
    for (const TokenId token : prompt["tokens"]) pruned.prompt.push_back(token);
  }
  SequenceRequest request;
  request.prompt = pruned.prompt;
  request.pruning.trace = true;
  request.sampling.max_tokens = 8;
  request.sampling.logprobs = 5;
  request.sampling.ignore_eos = true;
  const auto sequence = (*engine)->Start(request);
  ASSERT_TRUE(sequence.ok()) << sequence.status();
  PrefillStep step;
  while (!step.done) step = *(*engine)->PrefillChunk(**sequence);
  pruned.first = *step.first_token;
  pruned.report = (*sequence)->prefill_report();
  Sequence* batch[] = {sequence->get()};
  for (TokenEvent event = pruned.first; event.finish == FinishReason::kNone;) {
    event = *std::move((*engine)->DecodeStep(batch)[0]);
  }
}

// Scores are made of queries and keys after norm and rotation, and the answer of what they chose to keep.
TEST_P(TinyModelsTest, PrunedPrefillEqualsTheDefinition) {
  for (const char* backend : {"ref", "cpu", "cuda"}) {
    if (!Available(backend)) continue;
    Pruned pruned;
    ASSERT_NO_FATAL_FAILURE(RunPruned(name_, golden_, backend, pruned));
    ASSERT_TRUE(pruned.report.pruned);
    const auto source = Open(name_);
    std::map<int, std::vector<int32_t>> kept;
    for (const PruneTraceStage& stage : pruned.report.trace) {
      EXPECT_LT(stage.kept_blocks.size(), stage.candidate_blocks.size());
      kept[stage.prune_layer] = stage.kept_blocks;
    }
    const ModelWeights weights = *ReadModelWeights(source->tensors(), source->config());
    const std::vector<double> expected = testing::NaiveLogprobs(source->config(), weights, pruned.prompt, kept);
    const bool exact = std::string(backend) == "ref";
    if (exact) {
      const auto best = std::max_element(expected.begin(), expected.end()) - expected.begin();
      EXPECT_EQ(pruned.first.token, best);
    }
    EXPECT_NEAR(*pruned.first.logprob, expected[pruned.first.token], exact ? 1e-3 : 0.2) << backend;
  }
}

TEST(TinyModels, ContextBeyondTheSlidingWindowIsRefused) {
  const auto backend = *MakeBackend("ref", {});
  EXPECT_TRUE(Model::Load(Open("mistral"), *backend, 512, nullptr).ok());
  const auto refused = Model::Load(Open("mistral"), *backend, 513, nullptr);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("the model attends to the last 512 tokens only, a context of 513 is asked for: sliding windows "
                        "are not supported, start with --max-context 512"));
}

}  // namespace
}  // namespace slimfill::engine
