// What a request answers, against the definition of the forward pass, and what it leaves behind.
#include <algorithm>

#include "engine/prune/policy.h"
#include "gmock/gmock.h"
#include "tests/engine/engine_fixture.h"

namespace slimfill::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(EngineTest, DensePrefillEqualsTheDefinition) {
  const SequenceRequest request = Request(Prompt(300), PruningMode::kOff, 1);
  ExpectNaiveAgrees(options_, request, Run(*MakeEngine("off"), request));
}

TEST_F(EngineTest, DensePrefillEqualsTheDefinitionForLlamaWithScaledRope) {
  options_.architecture = Architecture::kLlama;
  options_.rope_frequency_divisors = true;
  options_.tied_embeddings = false;
  options_.kv_heads = 4;
  const SequenceRequest request = Request(Prompt(150), PruningMode::kOff, 1);
  ExpectNaiveAgrees(options_, request, Run(*MakeEngine("off"), request));
}

TEST_F(EngineTest, PrunedPrefillEqualsTheDefinitionForQwen3WithNormalisedHeads) {
  options_.architecture = Architecture::kQwen3;
  options_.head_dim = 32;
  for (const char* plan : {"off", kHeadsPlan, kPaperPlan, kAttentionPlan}) {
    const SequenceRequest request = Request(Prompt(700), PruningMode::kAuto, 1);
    const Answer answer = Run(*MakeEngine(plan), request);
    EXPECT_EQ(answer.report.pruned, std::string(plan) != "off");
    ExpectNaiveAgrees(options_, request, answer);
  }
}

TEST_F(EngineTest, PrunedPrefillEqualsTheDefinitionOnTheKeptBlocks) {
  for (const char* plan : {kHeadsPlan, kPaperPlan, kAttentionPlan}) {
    const SequenceRequest request = Request(Prompt(1000), PruningMode::kAuto, 1);
    const Answer answer = Run(*MakeEngine(plan), request);
    EXPECT_TRUE(answer.report.pruned);
    ExpectNaiveAgrees(options_, request, answer);
  }
}

TEST_F(EngineTest, BudgetOfTheWholePromptEqualsDenseBitForBit) {
  SequenceRequest everything = Request(Prompt(700), PruningMode::kCustom);
  everything.pruning.keep_ratio = {1};
  for (const char* plan : {kHeadsPlan, kPaperPlan, kAttentionPlan}) {
    const std::unique_ptr<StudyEngine> engine = MakeEngine(plan);
    const Answer dense = Run(*engine, Request(Prompt(700), PruningMode::kOff));
    const Answer kept = Run(*engine, everything);
    EXPECT_EQ(dense, kept);
    EXPECT_FALSE(kept.report.pruned);
    EXPECT_EQ(dense, Run(*MakeEngine("off"), Request(Prompt(700), PruningMode::kOff)));
  }
}

TEST_F(EngineTest, ChunkSizeDoesNotChangeTheAnswer) {
  for (const char* plan : {kHeadsPlan, kPaperPlan, kAttentionPlan}) {
    const Answer small = Run(*MakeEngine(plan, 64), Request(Prompt(900)));
    store_ = *kvstore::LocalKvStore::Create({}, clock_, nullptr);
    EXPECT_EQ(small, Run(*MakeEngine(plan, 1024), Request(Prompt(900))));
    store_ = *kvstore::LocalKvStore::Create({}, clock_, nullptr);
  }
}

TEST_F(EngineTest, BatchCompositionDoesNotChangeTheAnswer) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  std::vector<Answer> alone, together(3);
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<Sequence*> batch;
  for (const int tokens : {500, 70, 900}) {
    SequenceRequest request = Request(Prompt(tokens, tokens));
    request.no_store = true;
    alone.push_back(Run(*engine, request));
    sequences.push_back(*engine->Start(request));
    PrefillStep step;
    while (!step.done) step = *engine->PrefillChunk(*sequences.back());
    Record(*step.first_token, together[sequences.size() - 1]);
    batch.push_back(sequences.back().get());
  }
  for (int i = 1; i < 12; ++i) {
    auto events = engine->DecodeStep(batch);
    for (size_t j = 0; j < batch.size(); ++j) Record(*events[j], together[j]);
  }
  EXPECT_EQ(alone, together);
}

TEST_F(EngineTest, ARestartedSequenceAnswersAgain) {
  for (const char* plan : {kHeadsPlan, kAttentionPlan}) {
    const std::unique_ptr<StudyEngine> engine = MakeEngine(plan);
    const std::unique_ptr<Sequence> sequence = *engine->Start(Request(Prompt(700)));
    PrefillStep step;
    while (!step.done) step = *engine->PrefillChunk(*sequence);
    Sequence* batch[] = {sequence.get()};
    const auto generate = [&](int tokens) {
      std::vector<TokenId> generated;
      for (int i = 0; i < tokens; ++i) generated.push_back((*engine->DecodeStep(batch)[0]).token);
      return generated;
    };
    std::vector<TokenId> first = {step.first_token->token};
    for (const TokenId token : generate(2)) first.push_back(token);
    SamplingParams again;
    again.max_tokens = 3;
    ASSERT_TRUE(engine->Restart(*sequence, again).ok());
    EXPECT_EQ(generate(3), first);
    again.forced_tokens = {7, 8, 9};
    ASSERT_TRUE(engine->Restart(*sequence, again).ok());
    EXPECT_THAT(generate(3), ElementsAre(7, 8, 9));
    again.max_tokens = 1000;
    EXPECT_EQ(engine->Restart(*sequence, again).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(EngineTest, EverySequenceGivesItsPagesBack) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  Run(*engine, Request(Prompt(700)));
  EXPECT_EQ(engine->pages_used(), 0);
  auto sequence = engine->Start(Request(Prompt(700)));
  ASSERT_TRUE(sequence.ok());
  ASSERT_TRUE(engine->PrefillChunk(**sequence).ok());
  EXPECT_GT(engine->pages_used(), 0);
  sequence->reset();
  EXPECT_EQ(engine->pages_used(), 0);
}

TEST_F(EngineTest, RefusesToStartWhenPagesAreShort) {
  // A page is 2 * 2 * 64 * 16 floats, 16 KiB; 6 layers: 10 blocks take 960 KiB.
  const std::unique_ptr<StudyEngine> engine = MakeEngine("off", 256, nullptr, 1 << 20);
  auto first = engine->Start(Request(Prompt(600)));
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = engine->Start(Request(Prompt(600)));
  EXPECT_EQ(second.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--kv-pages-memory"));
  first->reset();
  EXPECT_TRUE(engine->Start(Request(Prompt(600))).ok());
}

TEST_F(EngineTest, EndsWhenTheContextIsFull) {
  options_.context = 128;
  SequenceRequest request = Request(Prompt(120), PruningMode::kAuto, 100);
  EXPECT_EQ(Run(*MakeEngine("off"), request).tokens.size(), 8);
}

TEST_F(EngineTest, SaysWhatIsWrongWithARequest) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  const auto expect_refused = [&](const SequenceRequest& request, const char* text) {
    const absl::Status status = engine->Validate(request);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
    EXPECT_EQ(engine->Start(request).status(), status);
  };
  expect_refused(Request({}), "prompt is empty");
  expect_refused(Request(Prompt(4096)), "prompt has 4096 tokens, the model's context is 4096");
  expect_refused(Request({1, -1}), "prompt token id -1");
  expect_refused(Request({1, 1 << 20}), "prompt token id 1048576");
  SequenceRequest request = Request(Prompt(10), PruningMode::kCustom);
  expect_refused(request, "keep_ratio has 0 entries");
  request.pruning.keep_ratio = {0.5f, 0.6f, 0.1f};
  expect_refused(request, "not above the one before");
  request.pruning.keep_ratio = {0};
  expect_refused(request, "must be in (0, 1]");
  request = Request(Prompt(10));
  request.pruning.query_span = TokenRange{3, 11};
  expect_refused(request, "query_span [3, 11)");
  request = Request(Prompt(10));
  request.sampling.temperature = -1;
  expect_refused(request, "temperature");
}

}  // namespace
}  // namespace slimfill::engine
