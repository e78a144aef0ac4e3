// The engine on the CUDA backend, on the emulated device: the invariants of pruning and reuse, and what happens when
// the device fails or is full.
#include "engine/ops/profiled_backend.h"
#include "gmock/gmock.h"
#include "tests/cusim/faults.h"
#include "tests/cusim/memory.h"
#include "tests/engine/engine_fixture.h"

namespace slimfill::engine {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kPagesBytes = 16 << 20;

class CudaEngineTest : public EngineTest {
 protected:
  ~CudaEngineTest() override { cusim::ClearFaults(); }
  std::unique_ptr<StudyEngine> MakeCudaEngine(const std::string& plan, int64_t chunk_tokens = 256,
                                              const char* backend = "cuda") {
    return MakeEngine(plan, chunk_tokens, nullptr, kPagesBytes, *MakeBackend(backend, {.scratch_bytes = 4 << 20}));
  }
};

TEST_F(CudaEngineTest, AnswersAsTheCpuDoesPrunedAndDense) {
  for (const char* plan : {"off", kHeadsPlan, kPaperPlan, kAttentionPlan}) {
    const auto cuda = MakeCudaEngine(plan), cpu = MakeCudaEngine(plan, 256, "cpu"),
               ref = MakeCudaEngine(plan, 256, "ref");
    const SequenceRequest request = Request(Prompt(700));
    const Answer got = Run(*cuda, request), other = Run(*cpu, request), want = Run(*ref, request);
    ASSERT_EQ(got.report.trace.size(), want.report.trace.size());
    for (size_t i = 0; i < want.report.trace.size(); ++i) {
      EXPECT_EQ(got.report.trace[i].kept_blocks, want.report.trace[i].kept_blocks) << plan;
    }
    // Log-probabilities of the first token's best alternatives: as near to ref's as cpu's are, both being bf16.
    for (int i = 0; i <= 20; ++i) {
      EXPECT_NEAR(got.logprobs[i], want.logprobs[i], 0.03) << plan << ", " << i;
      EXPECT_NEAR(other.logprobs[i], want.logprobs[i], 0.03) << plan << ", " << i;
    }
    EXPECT_EQ(got.tokens.front(), want.tokens.front()) << plan;
  }
}

// Scores only: with links many blocks' are all but equal, and which of those stay is for the last bits to say.
TEST_F(CudaEngineTest, LinksRaiseScoresAsTheReferenceDoes) {
  options_.query_scale = 8;
  const SequenceRequest request = Request(Prompt(1300));
  const auto scores = [&](const char* plan, const char* backend) {
    return Run(*MakeCudaEngine(plan, 2048, backend), request).report.trace[0].scores;
  };
  const auto got = scores(kLinksPlan, "cuda"), want = scores(kLinksPlan, "ref"), plain = scores(kHeadsPlan, "ref");
  ASSERT_EQ(got.size(), want.size());
  double raised = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], 0.01) << i;
    raised += want[i] - plain[i];
  }
  EXPECT_GT(raised, 1) << "links matter here";
}

TEST_F(CudaEngineTest, LinksDoNotDependOnChunks) {
  options_.query_scale = 8;
  const SequenceRequest request = Request(Prompt(1300));
  const Answer whole = Run(*MakeCudaEngine(kLinksPlan, 2048), request);
  for (const int64_t chunk : {64, 192, 512}) {
    const Answer answer = Run(*MakeCudaEngine(kLinksPlan, chunk), request);
    EXPECT_EQ(answer, whole) << chunk;
    for (size_t i = 0; i < whole.report.trace.size(); ++i) {
      EXPECT_EQ(answer.report.trace[i].scores, whole.report.trace[i].scores) << chunk;
    }
  }
}

TEST_F(CudaEngineTest, ABudgetOfTheWholePromptEqualsDenseBitForBit) {
  const auto engine = MakeCudaEngine(kHeadsPlan);
  SequenceRequest whole = Request(Prompt(500), PruningMode::kCustom);
  whole.pruning.keep_ratio = {1};
  EXPECT_EQ(Run(*engine, whole), Run(*engine, Request(Prompt(500), PruningMode::kOff)));
}

TEST_F(CudaEngineTest, ChunksDoNotChangeAnAnswer) {
  const SequenceRequest request = Request(Prompt(700));
  const Answer whole = Run(*MakeCudaEngine(kHeadsPlan, 1024), request);
  for (int64_t chunk : {64, 192}) EXPECT_EQ(Run(*MakeCudaEngine(kHeadsPlan, chunk), request), whole) << chunk;
}

TEST_F(CudaEngineTest, AStoredPrefixDoesNotChangeAnAnswer) {
  const auto engine = MakeCudaEngine(kHeadsPlan);
  const SequenceRequest request = Request(Prompt(700));
  const Answer cold = Run(*engine, request);
  EXPECT_EQ(cold.report.cached_tokens, 0);
  AwaitBlocks(10);
  const Answer warm = Run(*engine, request);
  EXPECT_GT(warm.report.cached_tokens, 0);
  EXPECT_EQ(warm, cold);
}

// A copy of memory that is not pinned holds up the host: none between the start and the end of a request.
TEST_F(CudaEngineTest, SwapsBlocksDuringDecodeAndCopiesThroughPinnedMemoryOnly) {
  const auto engine = MakeCudaEngine(kPaperPlan);
  const uint64_t pageable_copies = cusim::PageableCopies();
  const Answer answer = Run(*engine, Request(Prompt(1200), PruningMode::kAuto, 40));
  EXPECT_EQ(cusim::PageableCopies(), pageable_copies);
  EXPECT_EQ(answer.tokens.size(), 40u);
  EXPECT_GT(answer.decode.swaps, 0);
  EXPECT_EQ(Run(*MakeCudaEngine(kPaperPlan), Request(Prompt(1200), PruningMode::kAuto, 40)), answer);
}

// The tokens of a request that asks for no log-probabilities: the logits stay on the device.
std::vector<TokenId> TokensWithoutLogprobs(StudyEngine& engine, SequenceRequest request) {
  const size_t count = request.sampling.max_tokens;
  request.sampling.logprobs = -1;
  auto sequence = *engine.Start(std::move(request));
  PrefillStep step;
  while (!step.done) step = *engine.PrefillChunk(*sequence);
  std::vector<TokenId> tokens = {step.first_token->token};
  Sequence* batch[] = {sequence.get()};
  while (tokens.size() < count) tokens.push_back(engine.DecodeStep(batch)[0]->token);
  return tokens;
}

TEST_F(CudaEngineTest, GreedyTokensChosenOnTheDeviceAreThoseOfTheLogits) {
  const auto engine = MakeCudaEngine("off");
  const SequenceRequest request = Request(Prompt(100), PruningMode::kOff, 20);
  EXPECT_EQ(TokensWithoutLogprobs(*engine, request), Run(*engine, request).tokens);
}

TEST_F(CudaEngineTest, TokensDrawnFromTheMostLikelyOnTheDeviceAreThoseOfTheLogits) {
  const auto engine = MakeCudaEngine("off");
  SequenceRequest request = Request(Prompt(100), PruningMode::kOff, 30);
  request.sampling.temperature = 1;
  request.sampling.seed = 5;
  for (const auto& [top_k, top_p] : {std::pair{40, 0.9f}, {0, 0.5f}, {0, 1.0f}}) {
    request.sampling.top_k = top_k;
    request.sampling.top_p = top_p;
    EXPECT_EQ(TokensWithoutLogprobs(*engine, request), Run(*engine, request).tokens) << top_k << ", " << top_p;
  }
}

TEST_F(CudaEngineTest, LogitsStayOnTheDeviceWhereTheMostLikelyTokensDecide) {
  OpProfile profile;
  const auto engine = MakeEngine("off", 256, nullptr, kPagesBytes,
                                 MakeProfiledBackend(*MakeBackend("cuda", {.scratch_bytes = 4 << 20}), profile));
  SequenceRequest request = Request(Prompt(100), PruningMode::kOff, 20);
  request.sampling.logprobs = -1;
  request.sampling.temperature = 0.8f;
  request.sampling.top_k = 40;
  const auto sequence = *engine->Start(std::move(request));
  PrefillStep step;
  while (!step.done) step = *engine->PrefillChunk(*sequence);
  profile.Clear();
  Sequence* batch[] = {sequence.get()};
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(engine->DecodeStep(batch)[0].ok());
  const auto calls = [&](absl::string_view op) {
    int64_t count = 0;
    for (const OpTime& time : profile.times()) count += time.op == op ? time.calls : 0;
    return count;
  };
  EXPECT_EQ(calls("top"), 10);
  EXPECT_EQ(calls("read rows"), 0);
}

// Greedy, drawn from the most likely tokens, and with penalties from all logits: each as it does alone.
TEST_F(CudaEngineTest, RequestsThatChooseTheirTokensInDifferentWaysDecodeTogether) {
  const auto engine = MakeCudaEngine("off");
  std::vector<SequenceRequest> requests(3, Request(Prompt(100), PruningMode::kOff, 12));
  for (SequenceRequest& request : requests) request.sampling.logprobs = -1;
  requests[1].sampling.temperature = 0.8f;
  requests[1].sampling.top_p = 0.9f;
  requests[2].sampling.temperature = 1;
  requests[2].sampling.repetition_penalty = 1.2f;
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<Sequence*> batch;
  std::vector<std::vector<TokenId>> together;
  for (const SequenceRequest& request : requests) {
    sequences.push_back(*engine->Start(request));
    PrefillStep step;
    while (!step.done) step = *engine->PrefillChunk(*sequences.back());
    batch.push_back(sequences.back().get());
    together.push_back({step.first_token->token});
  }
  for (int step = 1; step < 12; ++step) {
    const auto events = engine->DecodeStep(batch);
    for (size_t i = 0; i < events.size(); ++i) together[i].push_back(events[i]->token);
  }
  for (size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(together[i], TokensWithoutLogprobs(*engine, requests[i])) << i;
}

TEST_F(CudaEngineTest, ABatchDecodesAsItsSequencesDoAlone) {
  const auto engine = MakeCudaEngine("off");
  std::vector<Answer> alone;
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<Answer> together;
  std::vector<Sequence*> batch;
  for (int64_t tokens : {50, 129, 300}) {
    alone.push_back(Run(*engine, Request(Prompt(tokens), PruningMode::kOff)));
    sequences.push_back(*engine->Start(Request(Prompt(tokens), PruningMode::kOff)));
    PrefillStep step;
    while (!step.done) step = *engine->PrefillChunk(*sequences.back());
    together.emplace_back();
    Record(*step.first_token, together.back());
    batch.push_back(sequences.back().get());
  }
  for (int step = 1; step < 12; ++step) {
    const auto events = engine->DecodeStep(batch);
    for (size_t i = 0; i < events.size(); ++i) Record(*events[i], together[i]);
  }
  for (size_t i = 0; i < together.size(); ++i) EXPECT_EQ(together[i], alone[i]) << i;
}

TEST_F(CudaEngineTest, ADeviceThatBreaksFailsWhatRunsWithInternalAndIsReported) {
  const auto engine = MakeCudaEngine(kHeadsPlan);
  auto prefilling = *engine->Start(Request(Prompt(700)));
  auto decoding = *engine->Start(Request(Prompt(100)));
  PrefillStep step;
  while (!step.done) step = *engine->PrefillChunk(*decoding);
  constexpr uint64_t kSound = 2;  // its one full block: stage 1 and the layers behind
  AwaitBlocks(kSound);
  EXPECT_TRUE(engine->Health().ok());
  cusim::InjectFault("cudaLaunchKernelEx", cudaErrorIllegalAddress, 5, /*sticky=*/true);
  EXPECT_EQ(engine->PrefillChunk(*prefilling).status().code(), absl::StatusCode::kInternal);
  Sequence* batch[] = {decoding.get()};
  EXPECT_EQ(engine->DecodeStep(batch)[0].status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(engine->Health().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(store_->Stats(absl::InfiniteFuture())->blocks, kSound) << "worthless bytes are not stored";
}

TEST_F(CudaEngineTest, TooLittleMemoryForPagesIsSaidAtTheStart) {
  const size_t total = cusim::TotalDeviceBytes(), used = total - cusim::FreeDeviceBytes();
  cusim::SetTotalDeviceBytes(used + (80 << 20));
  PrunedEngineOptions options;
  options.model_path = testing::WriteTemporaryFile("tiny.gguf", testing::MakeTinyModelGguf(options_));
  options.plan = "off";
  options.kv_pages_bytes = 100 << 20;
  const auto engine = MakePrunedEngine(options, *MakeBackend("cuda", {.scratch_bytes = 4 << 20}), *store_, metrics_);
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(engine.status().message()), HasSubstr("100 MiB"));
  EXPECT_THAT(std::string(engine.status().message()), HasSubstr("lower --kv-pages-memory"));
  cusim::SetTotalDeviceBytes(total);
}

// Residual rows are allocated for each request: one that does not fit fails alone.
TEST_F(CudaEngineTest, ARequestThatFindsNoMemoryFailsAlone) {
  const auto engine = MakeCudaEngine("off");
  const size_t total = cusim::TotalDeviceBytes();
  auto fits = *engine->Start(Request(Prompt(100), PruningMode::kOff));
  cusim::SetTotalDeviceBytes(total - cusim::FreeDeviceBytes() + 1000);
  EXPECT_EQ(engine->Start(Request(Prompt(700), PruningMode::kOff)).status().code(),
            absl::StatusCode::kResourceExhausted);
  cusim::SetTotalDeviceBytes(total);
  PrefillStep step;
  while (!step.done) step = *engine->PrefillChunk(*fits);
  EXPECT_TRUE(engine->Start(Request(Prompt(700), PruningMode::kOff)).ok());
  EXPECT_TRUE(engine->Health().ok());
}

}  // namespace
}  // namespace slimfill::engine
