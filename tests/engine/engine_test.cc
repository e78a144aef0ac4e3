// The engine as a whole, on tiny models with random weights: what a request answers, and what it leaves behind.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "engine/ops/backend_factory.h"
#include "engine/prune/policy.h"
#include "engine/pruned_engine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/core/local_store.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/naive_decoder.h"
#include "tests/support/tiny_model.h"

namespace slimfill::engine {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A store that is gone.
class DeadStore final : public kvstore::KvStore {
 public:
  absl::StatusOr<kvstore::PrefixMatch> MatchPrefix(absl::Span<const kvstore::BlockKey>, absl::Time) override {
    return Gone();
  }
  absl::StatusOr<kvstore::LeaseId> OpenPrivate(absl::Time) override { return Gone(); }
  absl::StatusOr<std::vector<absl::Status>> Put(absl::Span<const kvstore::PutItem>, kvstore::LeaseId,
                                                absl::Time) override {
    return Gone();
  }
  absl::StatusOr<std::vector<absl::Status>> Fetch(absl::Span<const kvstore::FetchItem>, kvstore::LeaseId,
                                                  absl::Time) override {
    return Gone();
  }
  absl::Status Renew(kvstore::LeaseId, absl::Time) override { return Gone(); }
  void Release(kvstore::LeaseId) override {}
  absl::StatusOr<kvstore::StoreStats> Stats(absl::Time) override { return Gone(); }
  const char* path() const override { return "dead"; }

 private:
  static absl::Status Gone() { return absl::UnavailableError("the store is gone"); }
};

constexpr char kHeadsPlan[] = R"({
  "name": "tiny", "local_blocks": [{"up_to_tokens": 0, "blocks": 2}],
  "stages": [{"prune_layer": 1, "keep_ratio": 0.5, "score": "heads", "heads": [[1, 2]]},
             {"prune_layer": 3, "keep_ratio": 0.25, "score": "heads", "heads": [[2, 0], [3, 1], [3, 3]]},
             {"prune_layer": 4, "keep_ratio": 0.2, "score": "previous"}]})";

constexpr char kPaperPlan[] = R"({
  "name": "tiny-paper", "local_blocks": [{"up_to_tokens": 0, "blocks": 1}], "swap_overlap": 1, "swap_margin": 0,
  "stages": [{"prune_layer": 2, "keep_tokens": 512, "score": "paper"},
             {"prune_layer": 4, "keep_tokens": 256, "score": "paper"}]})";

constexpr char kAttentionPlan[] = R"({
  "name": "tiny-attention", "local_blocks": [{"up_to_tokens": 0, "blocks": 2}],
  "stages": [{"prune_layer": 2, "keep_ratio": 0.5, "score": "attention"},
             {"prune_layer": 4, "keep_ratio": 0.25, "score": "attention"}]})";

struct Answer {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;  // of the chosen tokens and their best alternatives
  PrefillReport report;
  DecodeReport decode;
  friend bool operator==(const Answer& a, const Answer& b) { return a.tokens == b.tokens && a.logprobs == b.logprobs; }
};

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() {
    options_.layers = 6;
    auto store = kvstore::LocalKvStore::Create({}, clock_, nullptr);
    EXPECT_TRUE(store.ok());
    store_ = *std::move(store);
  }

  std::unique_ptr<StudyEngine> MakeEngine(const std::string& plan, int64_t chunk_tokens = 256,
                                          kvstore::KvStore* store = nullptr, int64_t kv_pages_bytes = 64 << 20,
                                          std::unique_ptr<Backend> backend = *MakeBackend("ref", {})) {
    PrunedEngineOptions options;
    options.model_path = testing::WriteTemporaryFile("tiny.gguf", testing::MakeTinyModelGguf(options_));
    options.plan = plan;
    if (plan != "off" && plan != "fast") {
      options.plan =
          testing::WriteTemporaryFile("plan.json", {reinterpret_cast<const std::byte*>(plan.data()),
                                                    reinterpret_cast<const std::byte*>(plan.data() + plan.size())});
    }
    options.prefix_layers = prefix_layers_;
    options.chunk_tokens = chunk_tokens;
    options.kv_pages_bytes = kv_pages_bytes;
    options.swap_wait = absl::Seconds(30);  // a busy machine must not change an answer
    auto engine = MakePrunedEngine(options, std::move(backend), store == nullptr ? *store_ : *store, metrics_);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }

  static std::vector<TokenId> Prompt(int64_t tokens, uint32_t seed = 7) {
    std::vector<TokenId> prompt;
    for (int64_t i = 0; i < tokens; ++i) {
      seed = seed * 1664525 + 1013904223;
      prompt.push_back(static_cast<TokenId>('a' + (seed >> 24) % 26));
    }
    return prompt;
  }

  static SequenceRequest Request(std::vector<TokenId> prompt, PruningMode mode = PruningMode::kAuto,
                                 int max_tokens = 12) {
    SequenceRequest request;
    request.prompt = std::move(prompt);
    request.pruning.mode = mode;
    request.pruning.trace = true;
    request.sampling.max_tokens = max_tokens;
    request.sampling.logprobs = 20;
    request.sampling.ignore_eos = true;
    return request;
  }

  static void Record(const TokenEvent& event, Answer& answer) {
    answer.tokens.push_back(event.token);
    answer.logprobs.push_back(*event.logprob);
    for (const TokenLogprob& top : event.top_logprobs) answer.logprobs.push_back(top.logprob);
  }

  static Answer Run(Engine& engine, SequenceRequest request) {
    Answer answer;
    auto sequence = engine.Start(std::move(request));
    EXPECT_TRUE(sequence.ok()) << sequence.status();
    PrefillStep step;
    double fraction = 0;
    while (!step.done) {
      step = *engine.PrefillChunk(**sequence);
      EXPECT_GE(step.fraction_done, 0);
      EXPECT_LE(step.fraction_done, 1);
      fraction = step.fraction_done;
    }
    EXPECT_EQ(fraction, 1);
    TokenEvent event = *step.first_token;
    Record(event, answer);
    Sequence* batch[] = {sequence->get()};
    while (event.finish == FinishReason::kNone) {
      event = *std::move(engine.DecodeStep(batch)[0]);
      Record(event, answer);
    }
    answer.report = (*sequence)->prefill_report();
    answer.decode = (*sequence)->decode_report();
    return answer;
  }

  SystemClock clock_;
  Metrics metrics_;
  int prefix_layers_ = 0;
  testing::TinyModelOptions options_;
  std::unique_ptr<kvstore::LocalKvStore> store_;
};

// The whole forward pass against the definition, with the blocks that the engine itself chose to keep.
void ExpectNaiveAgrees(const testing::TinyModelOptions& options, const SequenceRequest& request, const Answer& answer) {
  const std::vector<std::byte> bytes = testing::MakeTinyModelGguf(options);
  const auto file = GgufFile::Parse(bytes, "tiny");
  ASSERT_TRUE(file.ok());
  const ModelConfig config = *ReadModelConfig(**file);
  const ModelWeights weights = *ReadModelWeights(**file, config);
  std::map<int, std::vector<int32_t>> kept;
  for (const PruneTraceStage& stage : answer.report.trace) kept[stage.prune_layer] = stage.kept_blocks;
  const std::vector<double> expected = testing::NaiveLogprobs(config, weights, request.prompt, kept);
  const TokenId best = static_cast<TokenId>(std::max_element(expected.begin(), expected.end()) - expected.begin());
  EXPECT_EQ(answer.tokens.front(), best);
  EXPECT_NEAR(answer.logprobs.front(), expected[best], 1e-3);
  std::vector<double> sorted = expected;
  std::sort(sorted.rbegin(), sorted.rend());
  for (int i = 0; i < 20; ++i) EXPECT_NEAR(answer.logprobs[1 + i], sorted[i], 1e-3) << i;
}

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

TEST_F(EngineTest, KeepsWhatThePlanSays) {
  const Answer answer = Run(*MakeEngine(kHeadsPlan), Request(Prompt(1300)));
  // 21 blocks: half is 11 (10.5 rounded), a quarter 5, a fifth 4.
  ASSERT_EQ(answer.report.trace.size(), 3);
  EXPECT_EQ(answer.report.trace[0].candidate_blocks.size(), 21);
  EXPECT_EQ(answer.report.trace[0].kept_blocks.size(), 11);
  EXPECT_EQ(answer.report.trace[1].candidate_blocks, answer.report.trace[0].kept_blocks);
  EXPECT_EQ(answer.report.trace[1].kept_blocks.size(), 5);
  EXPECT_EQ(answer.report.trace[2].kept_blocks.size(), 4);
  for (const PruneTraceStage& stage : answer.report.trace) {
    for (const int32_t block : {0, 19, 20}) EXPECT_THAT(stage.kept_blocks, Contains(block));
  }
  EXPECT_EQ(answer.report.served_by, "cold");
  ASSERT_EQ(answer.report.stages.size(), 4);
  EXPECT_EQ(answer.report.stages[0].tokens_in, 1300);
  EXPECT_EQ(answer.report.stages[0].tokens_kept, 10 * 64 + 1300 % 64);  // the last block is partial
  // Layer 0 holds all 21 blocks, layers 1 and 2 hold 11, 3 holds 5, 4 and 5 hold 4.
  const int64_t pages = 21 + 11 + 11 + 5 + 4 + 4;
  EXPECT_EQ(answer.report.kv_bytes * 21 * 6, answer.report.dense_kv_bytes * pages);
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

TEST_F(EngineTest, WarmPrefixEqualsCold) {
  const std::vector<TokenId> document = Prompt(1000);
  for (const char* plan : {kHeadsPlan, kPaperPlan, kAttentionPlan}) {
    for (const PruningMode mode : {PruningMode::kAuto, PruningMode::kOff}) {
      store_ = *kvstore::LocalKvStore::Create({}, clock_, nullptr);
      const std::unique_ptr<StudyEngine> engine = MakeEngine(plan);
      std::vector<TokenId> first = document, second = document;
      for (const TokenId token : Prompt(40, 11)) first.push_back(token);
      for (const TokenId token : Prompt(100, 12)) second.push_back(token);
      Run(*engine, Request(first, mode));
      // Written behind: wait until the store has the prefix.
      while (store_->Stats(absl::InfiniteFuture())->blocks < 16) absl::SleepFor(absl::Milliseconds(1));
      const Answer warm = Run(*engine, Request(second, mode));
      EXPECT_EQ(warm.report.cached_tokens, 960);
      SequenceRequest cold_request = Request(second, mode);
      cold_request.no_store = true;
      const Answer cold = Run(*engine, cold_request);
      EXPECT_EQ(cold.report.cached_tokens, 0);
      EXPECT_EQ(warm, cold);
      for (size_t i = 0; i < cold.report.trace.size(); ++i) {
        EXPECT_EQ(warm.report.trace[i].kept_blocks, cold.report.trace[i].kept_blocks);
      }
    }
  }
}

TEST_F(EngineTest, TenantsDoNotShareAPrefix) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  SequenceRequest request = Request(Prompt(1000));
  request.tenant_salt = "a";
  Run(*engine, request);
  while (store_->Stats(absl::InfiniteFuture())->blocks < 15) absl::SleepFor(absl::Milliseconds(1));
  request.tenant_salt = "b";
  EXPECT_EQ(Run(*engine, request).report.cached_tokens, 0);
  request.tenant_salt = "a";
  EXPECT_GT(Run(*engine, request).report.cached_tokens, 0);
}

TEST_F(EngineTest, EnginesWithOtherArithmeticDoNotShareAPrefix) {
  const auto make = [&](const char* linear) {
    return MakeEngine(kHeadsPlan, 256, nullptr, 64 << 20, *MakeBackend("cpu", {.threads = 1, .linear = linear}));
  };
  const std::unique_ptr<StudyEngine> bf16 = make("bf16"), int8 = make("int8");
  EXPECT_NE(int8->info().arithmetic, bf16->info().arithmetic);
  const SequenceRequest request = Request(Prompt(1000));
  Run(*bf16, request);
  while (store_->Stats(absl::InfiniteFuture())->blocks < 15) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(Run(*int8, request).report.cached_tokens, 0);
  EXPECT_GT(Run(*make("bf16"), request).report.cached_tokens, 0);
}

TEST_F(EngineTest, ADeadStoreCostsOnlyTheReuse) {
  DeadStore dead;
  for (const char* plan : {kHeadsPlan, kAttentionPlan}) {
    SequenceRequest request = Request(Prompt(800));
    const Answer with_store = Run(*MakeEngine(plan), request);
    EXPECT_EQ(Run(*MakeEngine(plan, 256, &dead), request).tokens.front(), with_store.tokens.front());
  }
}

TEST_F(EngineTest, DecodeBringsBlocksBackAtPruneLayers) {
  const Answer answer = Run(*MakeEngine(kPaperPlan), Request(Prompt(1500), PruningMode::kAuto, 60));
  EXPECT_GT(answer.decode.swaps, 0);
  EXPECT_EQ(answer.tokens.size(), 60);
}

TEST_F(EngineTest, ARequestMayBringItsOwnPlan) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  const Answer own = Run(*MakeEngine(kAttentionPlan), Request(Prompt(1000)));
  SequenceRequest request = Request(Prompt(1000));
  request.pruning.plan = std::make_shared<PrunePlan>(*ParsePlan(kAttentionPlan, engine->info().model));
  for (int i = 0; i < 2; ++i) {  // its first pruning is at another layer: stored prefixes cannot serve it
    const Answer answer = Run(*engine, request);
    EXPECT_EQ(answer.tokens, own.tokens);
    EXPECT_EQ(answer.report.cached_tokens, 0);
  }
  PrunePlan beyond_the_model = *request.pruning.plan;
  beyond_the_model.stages[0].prune_layer = 99;
  request.pruning.plan = std::make_shared<PrunePlan>(beyond_the_model);
  EXPECT_EQ(engine->Start(request).status().code(), absl::StatusCode::kInvalidArgument);
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

TEST_F(EngineTest, ScoresOfAllHeadsAreThoseThatPruningSees) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  const PruneTraceStage pruned = Run(*engine, Request(Prompt(1000))).report.trace[0];  // by head (1, 2) alone
  const absl::StatusOr<AllHeadScores> all = engine->ScoreHeads(Request(Prompt(1000)), 3);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->layers, 3);
  EXPECT_EQ(all->blocks, 16);
  EXPECT_EQ(all->forced, pruned.forced_blocks);
  std::vector<float> scores(all->Of(1, 2).begin(), all->Of(1, 2).end());
  EXPECT_GT(all->Peak(1, 2), 0);
  const std::vector<int32_t>& blocks = pruned.candidate_blocks;
  NormalizeScores(blocks, all->forced, absl::MakeSpan(scores));
  EXPECT_EQ(scores, pruned.scores);
  EXPECT_EQ(engine->pages_used(), 0);
  EXPECT_EQ(engine->ScoreHeads(Request(Prompt(100)), 6).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(EngineTest, KeepsTheBlocksAnOracleNames) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  SequenceRequest request = Request(Prompt(1000));
  request.pruning.plan = std::make_shared<PrunePlan>(*ParsePlan(
      R"({"name": "oracle", "local_blocks": [{"up_to_tokens": 0, "blocks": 2}],
          "stages": [{"prune_layer": 1, "keep_ratio": 0.5, "score": "given"},
                     {"prune_layer": 3, "keep_ratio": 0.4, "score": "given"}]})",
      engine->info().model));
  request.pruning.given_blocks = {3, 5};
  request.pruning.trace = true;
  const PrefillReport report = Run(*engine, request).report;
  ASSERT_EQ(report.trace.size(), 2);
  EXPECT_THAT(report.trace[1].kept_blocks, ::testing::IsSupersetOf({3, 5}));
}

TEST_F(EngineTest, SwapsThatCannotBeServedLeaveTheActiveSet) {
  DeadStore dead;
  const Answer answer = Run(*MakeEngine(kPaperPlan, 256, &dead), Request(Prompt(1500), PruningMode::kAuto, 60));
  EXPECT_EQ(answer.decode.swaps, 0);
  EXPECT_GT(answer.decode.missed_swaps, 0);
  EXPECT_EQ(answer.tokens.size(), 60);
}

TEST_F(EngineTest, KeepsAShareOfTheMassThatGrowsWithIt) {
  size_t before = 0;
  for (const char* mass : {"0.3", "0.9", "1"}) {
    const std::string plan = absl::StrCat(R"({"local_blocks": [{"up_to_tokens": 0, "blocks": 1}], "stages": [
        {"prune_layer": 1, "score": "mean_attention", "keep_mass": )",
                                          mass, "}]}");
    const Answer answer = Run(*MakeEngine(plan), Request(Prompt(1000)));
    EXPECT_THAT(answer.report.fallbacks, ElementsAre());
    ASSERT_EQ(answer.report.trace.size(), 1);
    const PruneTraceStage& stage = answer.report.trace[0];
    EXPECT_GT(stage.kept_blocks.size(), before);
    before = stage.kept_blocks.size();
    // The kept blocks have the share that was asked for.
    double kept = 0, all = 0;
    for (size_t i = 0; i < stage.scores.size(); ++i) {
      all += stage.scores[i];
      const std::vector<int32_t>& blocks = stage.kept_blocks;
      if (std::find(blocks.begin(), blocks.end(), stage.candidate_blocks[i]) != blocks.end()) kept += stage.scores[i];
    }
    EXPECT_GE(kept, std::stod(mass) * all - 1e-4);
  }
  EXPECT_EQ(before, 16u) << "all of the mass is in all of the blocks";
}

TEST_F(EngineTest, DenseReusesAsManyLayersAsAreKept) {
  prefix_layers_ = 5;
  const std::unique_ptr<StudyEngine> engine = MakeEngine("off");
  const SequenceRequest request = Request(Prompt(1000), PruningMode::kOff);
  const Answer first = Run(*engine, request);
  EXPECT_EQ(first.report.cached_tokens, 0);
  while (store_->Stats(absl::InfiniteFuture())->blocks < 15) absl::SleepFor(absl::Milliseconds(1));
  const Answer again = Run(*engine, request);
  EXPECT_EQ(again.report.cached_tokens, 14 * 64);  // all but the blocks of the last 64 tokens
  EXPECT_EQ(again, first);
}

TEST_F(EngineTest, RunsDenseWhenNothingInParticularIsLookedUp) {
  std::string plan = kHeadsPlan;
  plan.back() = ',';
  const std::unique_ptr<StudyEngine> engine = MakeEngine(plan + "\"max_entropy\": 0}");
  const Answer answer = Run(*engine, Request(Prompt(1000)));
  EXPECT_THAT(answer.report.fallbacks, ElementsAre("entropy"));
  EXPECT_FALSE(answer.report.pruned);
  ASSERT_EQ(answer.report.trace.size(), 1);  // the scores that say why
  EXPECT_EQ(answer.report.trace[0].scores.size(), 16);
  EXPECT_EQ(answer.report.trace[0].kept_blocks, answer.report.trace[0].candidate_blocks);
  EXPECT_EQ(answer.report.served_by, "dense");
  SequenceRequest dense = Request(Prompt(1000), PruningMode::kOff);
  dense.no_store = true;
  EXPECT_EQ(answer, Run(*engine, dense));
}

TEST_F(EngineTest, PutsTheFirstPruningOffWhenUnsure) {
  std::string plan = kHeadsPlan;
  plan.back() = ',';
  plan += R"("min_peak": 1, "retry": {"prune_layer": 2, "keep_ratio": 0.6, "score": "heads", "heads": [[2, 1]]}})";
  const SequenceRequest request = Request(Prompt(1000), PruningMode::kAuto, 1);
  const Answer answer = Run(*MakeEngine(plan), request);
  EXPECT_THAT(answer.report.fallbacks, ElementsAre("low_peak"));
  ASSERT_EQ(answer.report.trace.size(), 4);  // an entry for every stage but the last, the one put off too
  EXPECT_EQ(answer.report.trace[0].prune_layer, 1);
  EXPECT_EQ(answer.report.trace[0].kept_blocks, answer.report.trace[0].candidate_blocks);
  EXPECT_EQ(answer.report.trace[1].prune_layer, 2);
  EXPECT_EQ(answer.report.trace[1].candidate_blocks.size(), 16);
  EXPECT_EQ(answer.report.trace[1].kept_blocks.size(), 10);
  EXPECT_EQ(answer.report.trace[2].prune_layer, 3);
  ExpectNaiveAgrees(options_, request, answer);
}

TEST_F(EngineTest, AQuestionBeforeItsDocumentIsKept) {
  SequenceRequest request = Request(Prompt(2000), PruningMode::kAuto, 1);
  request.pruning.query_span = TokenRange{70, 150};
  const Answer answer = Run(*MakeEngine(kHeadsPlan), request);
  EXPECT_EQ(answer.report.question, (TokenRange{70, 150}));
  for (const PruneTraceStage& stage : answer.report.trace) {
    EXPECT_THAT(stage.kept_blocks, Contains(1));
    EXPECT_THAT(stage.kept_blocks, Contains(2));
  }
  ExpectNaiveAgrees(options_, request, answer);
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
