// Prompts whose question stands before their document: it is asked once more behind them, as the probe.
#include <algorithm>
#include <map>

#include "engine/prune/policy.h"
#include "gmock/gmock.h"
#include "tests/engine/engine_fixture.h"

namespace slimfill::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

constexpr TokenRange kQuestion = {70, 150};

class QuestionFirstTest : public EngineTest {
 protected:
  QuestionFirstTest() { options_.query_scale = 8; }

  static SequenceRequest Asking(std::vector<TokenId> prompt, PruningMode mode = PruningMode::kAuto) {
    SequenceRequest request = Request(std::move(prompt), mode);
    request.pruning.query_span = kQuestion;
    return request;
  }
  static Answer RunWithoutStore(Engine& engine, SequenceRequest request) {
    request.no_store = true;
    return Run(engine, std::move(request));
  }
};

TEST_F(QuestionFirstTest, ThePromptSeesNothingOfTheProbe) {
  for (const char* plan : {kHeadsPlan, kLinksPlan, kPaperPlan, kAttentionPlan}) {
    const SequenceRequest request = Asking(Prompt(2000));
    const Answer answer = Run(*MakeEngine(plan), request);
    EXPECT_TRUE(answer.report.pruned);
    EXPECT_THAT(answer.report.fallbacks, IsEmpty());
    EXPECT_EQ(answer.report.question, kQuestion);
    for (const PruneTraceStage& stage : answer.report.trace) {
      EXPECT_THAT(stage.kept_blocks, IsSupersetOf({1, 2}));
      EXPECT_LE(stage.candidate_blocks.back(), 31);
    }
    ExpectNaiveAgrees(options_, request, answer);
  }
}

// The scores of blocks forced in neither, nor behind such a one, divided by the largest.
std::map<int32_t, float> FreeScores(const PruneTraceStage& a, const PruneTraceStage& b) {
  std::map<int32_t, float> scores;
  float best = 0;
  for (size_t i = 0; i < a.scores.size(); ++i) {
    const int32_t block = a.candidate_blocks[i];
    const auto forced = [&](int32_t which) {
      return std::binary_search(a.forced_blocks.begin(), a.forced_blocks.end(), which) ||
             std::binary_search(b.forced_blocks.begin(), b.forced_blocks.end(), which);
    };
    if (forced(block) || forced(block - 1)) continue;  // the end of the block before counts for a block
    scores[block] = a.scores[i];
    best = std::max(best, a.scores[i]);
  }
  for (auto& [block, score] : scores) score /= best;
  return scores;
}

TEST_F(QuestionFirstTest, ScoresAreThoseOfTheSameQuestionBehindThePrompt) {
  // There the question's first copy competes, which of one query's scores takes the same share from each.
  std::string plan = kHeadsPlan;
  plan.back() = ',';
  const std::unique_ptr<StudyEngine> engine = MakeEngine(plan + R"("query_window": 1})");
  const std::vector<TokenId> prompt = Prompt(2000);
  const PruneTraceStage first = Run(*engine, Asking(prompt)).report.trace[0];
  std::vector<TokenId> asked_again = prompt;
  asked_again.insert(asked_again.end(), prompt.begin() + kQuestion.first, prompt.begin() + kQuestion.second);
  SequenceRequest request = Request(asked_again);
  request.pruning.query_span = TokenRange{2000, 2080};
  const PruneTraceStage last = Run(*engine, request).report.trace[0];
  const std::map<int32_t, float> scores = FreeScores(first, last), expected = FreeScores(last, first);
  ASSERT_GE(scores.size(), 25);
  ASSERT_EQ(scores.size(), expected.size());
  for (const auto& [block, score] : scores) EXPECT_NEAR(score, expected.at(block), 1e-5) << block;
}

TEST_F(QuestionFirstTest, NeitherChunksNorAStoredPrefixChangeAnything) {
  const Answer whole = RunWithoutStore(*MakeEngine(kLinksPlan, 4096), Asking(Prompt(2000)));
  for (const int64_t chunk : {64, 192, 512}) {
    const std::unique_ptr<StudyEngine> engine = MakeEngine(kLinksPlan, chunk);
    const Answer cold = RunWithoutStore(*engine, Asking(Prompt(2000)));
    EXPECT_EQ(cold, whole) << chunk;
    for (size_t i = 0; i < 2; ++i) EXPECT_EQ(cold.report.trace[i].scores, whole.report.trace[i].scores) << chunk;
  }
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kLinksPlan);
  EXPECT_EQ(Run(*engine, Asking(Prompt(2000))), whole);
  AwaitBlocks(31);
  const Answer warm = Run(*engine, Asking(Prompt(2000)));
  EXPECT_EQ(warm.report.cached_tokens, 31 * 64) << "all but the last, partial block";
  EXPECT_EQ(warm, whole);
  // What was stored serves whoever brings another end, and no question.
  std::vector<TokenId> other = Prompt(2000);
  other.resize(1920);
  EXPECT_EQ(Run(*engine, Request(other)), RunWithoutStore(*engine, Request(other)));
}

TEST_F(QuestionFirstTest, ReportsAndHoldsThePromptOnly) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  SequenceRequest request = Asking(Prompt(2000));
  request.sampling.max_tokens = 1;
  EXPECT_EQ(engine->PagesNeeded(request), BlockCount(2000 + 80) * options_.layers);
  const PrefillReport report = Run(*engine, request).report;
  EXPECT_EQ(report.prompt_tokens, 2000);
  ASSERT_EQ(report.stages.size(), 4);
  EXPECT_EQ(report.stages[0].tokens_in, 2000);
  const auto kept = [&](size_t stage) { return static_cast<int64_t>(report.trace[stage].kept_blocks.size()); };
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(report.stages[i].tokens_kept, (kept(i) - 1) * 64 + 2000 % 64) << "the last block is partial";
    EXPECT_EQ(report.stages[i + 1].tokens_in, report.stages[i].tokens_kept);
  }
  const int64_t pages = 32 + 2 * kept(0) + kept(1) + 2 * kept(2);
  EXPECT_EQ(report.kv_bytes * 32 * 6, report.dense_kv_bytes * pages);
  EXPECT_EQ(engine->pages_used(), 0);
  request.pruning.mode = PruningMode::kOff;
  EXPECT_EQ(engine->PagesNeeded(request), 32 * options_.layers);
}

TEST_F(QuestionFirstTest, FallsBackAsOthersDo) {
  const auto engine_with = [this](const std::string& more) {
    std::string plan = kHeadsPlan;
    plan.back() = ',';
    return MakeEngine(plan + more + "}");
  };
  const Answer dense = RunWithoutStore(*MakeEngine("off"), Asking(Prompt(2000)));
  const Answer flat = RunWithoutStore(*engine_with(R"("max_entropy": 0)"), Asking(Prompt(2000)));
  EXPECT_THAT(flat.report.fallbacks, ElementsAre("entropy"));
  EXPECT_EQ(flat, dense);
  const SequenceRequest request = Asking(Prompt(2000));
  const Answer unsure =
      Run(*engine_with(
              R"("min_peak": 1, "retry": {"prune_layer": 2, "keep_ratio": 0.6, "score": "heads", "heads": [[2, 1]]})"),
          request);
  EXPECT_THAT(unsure.report.fallbacks, ElementsAre("low_peak"));
  EXPECT_TRUE(unsure.report.pruned);
  ExpectNaiveAgrees(options_, request, unsure);
}

TEST_F(QuestionFirstTest, WithoutRoomForTheProbeThePromptRunsDense) {
  options_.context = 2079;
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  const Answer dense = RunWithoutStore(*engine, Asking(Prompt(2000), PruningMode::kOff));
  for (const PruningMode mode : {PruningMode::kAuto, PruningMode::kCustom}) {
    SequenceRequest request = Asking(Prompt(2000), mode);
    request.pruning.keep_ratio = {0.5};
    const Answer answer = RunWithoutStore(*engine, request);
    EXPECT_THAT(answer.report.fallbacks, ElementsAre("question_first"));
    EXPECT_TRUE(answer.report.fell_back_to_dense);
    EXPECT_EQ(answer, dense);
  }
  options_.context = 2080;
  EXPECT_TRUE(RunWithoutStore(*MakeEngine(kHeadsPlan), Asking(Prompt(2000))).report.pruned);
}

TEST_F(QuestionFirstTest, APlanMayLeaveItDense) {
  std::string plan = kHeadsPlan;
  plan.back() = ',';
  const std::unique_ptr<StudyEngine> engine = MakeEngine(plan + R"("prune_question_first": false})");
  const Answer answer = RunWithoutStore(*engine, Asking(Prompt(2000)));
  EXPECT_THAT(answer.report.fallbacks, ElementsAre("question_first"));
  EXPECT_EQ(answer, RunWithoutStore(*engine, Asking(Prompt(2000), PruningMode::kOff)));
  // Who asks for a share of blocks gets it.
  SequenceRequest custom = Asking(Prompt(2000), PruningMode::kCustom);
  custom.pruning.keep_ratio = {0.5};
  EXPECT_TRUE(RunWithoutStore(*engine, custom).report.pruned);
}

TEST_F(QuestionFirstTest, AHotPrefixNeedsNoProbe) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  Run(*engine, Asking(Prompt(2000), PruningMode::kOff));
  AwaitBlocks(2 * 31);
  SequenceRequest request = Asking(Prompt(2000));
  request.pruning.trace = false;
  const Answer hot = Run(*engine, request);
  EXPECT_EQ(hot.report.served_by, "hot");
  EXPECT_EQ(hot, RunWithoutStore(*engine, Asking(Prompt(2000), PruningMode::kOff)));
  EXPECT_EQ(engine->pages_used(), 0);
}

TEST_F(QuestionFirstTest, IsRefusedByAStudyOfHeads) {
  const absl::Status status = MakeEngine(kHeadsPlan)->StudyHeads(Asking(Prompt(2000)), 3, 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

}  // namespace
}  // namespace slimfill::engine
