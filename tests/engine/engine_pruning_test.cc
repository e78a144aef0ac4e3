// Which blocks the engine keeps, and when it does not prune.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/prune/head_scores.h"
#include "engine/prune/policy.h"
#include "gmock/gmock.h"
#include "tests/engine/engine_fixture.h"

namespace slimfill::engine {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

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

TEST_F(EngineTest, LinksRaiseScoresAndLowerNone) {
  options_.query_scale = 8;
  const std::vector<PruneTraceStage> linked = Run(*MakeEngine(kLinksPlan), Request(Prompt(1300))).report.trace;
  const std::vector<PruneTraceStage> plain = Run(*MakeEngine(kHeadsPlan), Request(Prompt(1300))).report.trace;
  ASSERT_EQ(linked.size(), 2);
  int raised = 0;
  for (size_t i = 0; i < plain[0].scores.size(); ++i) {
    EXPECT_GE(linked[0].scores[i], plain[0].scores[i]) << i;
    raised += linked[0].scores[i] > plain[0].scores[i] ? 1 : 0;
  }
  EXPECT_GT(raised, 0);
  EXPECT_NE(linked[0].kept_blocks, plain[0].kept_blocks);
}

TEST_F(EngineTest, LinksDoNotDependOnChunks) {
  options_.query_scale = 8;
  const Answer whole = Run(*MakeEngine(kLinksPlan, 2048), Request(Prompt(1300)));
  for (const int64_t chunk : {64, 192, 512}) {
    const Answer answer = Run(*MakeEngine(kLinksPlan, chunk), Request(Prompt(1300)));
    EXPECT_EQ(answer, whole) << chunk;
    for (size_t i = 0; i < 2; ++i) EXPECT_EQ(answer.report.trace[i].scores, whole.report.trace[i].scores) << chunk;
  }
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

// Scores made of a study, by the plan's heads and links, beside those that pruning saw.
void ExpectScoresOf(const HeadStudy& study, const PrunePlan& plan, std::vector<UnitLink> links,
                    const PruneTraceStage& pruned) {
  const std::vector<int32_t>& blocks = pruned.candidate_blocks;
  std::vector<HeadMass> masses;
  for (const LayerHead& head : plan.stages[0].heads) masses.push_back({study.Units(head), blocks});
  HeadScores found = ScoreByHeads(plan, masses, blocks, study.forced, links);
  EXPECT_GT(found.peak, 0);
  NormalizeScores(blocks, study.forced, absl::MakeSpan(found.scores));
  EXPECT_EQ(found.scores, pruned.scores);
}

TEST_F(EngineTest, AStudyOfHeadsSeesWhatPruningSees) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  const PruneTraceStage pruned = Run(*engine, Request(Prompt(1000))).report.trace[0];  // by head (1, 2) alone
  const absl::StatusOr<HeadStudy> study = engine->StudyHeads(Request(Prompt(1000)), 3, 0);
  ASSERT_TRUE(study.ok()) << study.status();
  EXPECT_EQ(study->layers, 3);
  EXPECT_EQ(study->blocks, 16);
  EXPECT_EQ(study->forced, pruned.forced_blocks);
  EXPECT_TRUE(study->looks.empty());
  ExpectScoresOf(*study, *ParsePlan(kHeadsPlan, engine->info().model), {}, pruned);
  EXPECT_EQ(engine->pages_used(), 0);
}

TEST_F(EngineTest, AStudyOfHeadsSeesTheLinksThatPruningFollows) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  PrunePlan plan = *ParsePlan(kHeadsPlan, engine->info().model);
  plan.links.heads = {{0, 1}};
  SequenceRequest request = Request(Prompt(1000));
  request.pruning.plan = std::make_shared<PrunePlan>(plan);
  const PruneTraceStage pruned = Run(*engine, request).report.trace[0];
  const absl::StatusOr<HeadStudy> study = engine->StudyHeads(Request(Prompt(1000)), 2, 1);
  ASSERT_TRUE(study.ok()) << study.status();
  std::vector<UnitLink> links;
  study->AppendLinks({0, 1}, links);
  EXPECT_GT(links.size(), 100);  // at most two of a unit: those that are left out lead to nothing better here
  ExpectScoresOf(*study, plan, links, pruned);
}

TEST_F(EngineTest, RefusesAStudyOfLayersThatThereAreNot) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  for (const auto& [layers, link_layers] : {std::pair(6, 0), {0, 0}, {3, 4}, {3, -1}}) {
    EXPECT_EQ(engine->StudyHeads(Request(Prompt(100)), layers, link_layers).status().code(),
              absl::StatusCode::kInvalidArgument)
        << layers << " " << link_layers;
  }
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

TEST_F(EngineTest, RunsDenseWhenNothingInParticularIsLookedUp) {
  std::string plan = kHeadsPlan;
  plan.back() = ',';
  const std::unique_ptr<StudyEngine> engine = MakeEngine(plan + "\"max_entropy\": 0}");
  const Answer answer = Run(*engine, Request(Prompt(1000)));
  EXPECT_THAT(answer.report.fallbacks, ElementsAre("entropy"));
  EXPECT_TRUE(answer.report.fell_back_to_dense);
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
  EXPECT_FALSE(answer.report.fell_back_to_dense);
  ASSERT_EQ(answer.report.trace.size(), 4);  // an entry for every stage but the last, the one put off too
  EXPECT_EQ(answer.report.trace[0].prune_layer, 1);
  EXPECT_EQ(answer.report.trace[0].kept_blocks, answer.report.trace[0].candidate_blocks);
  EXPECT_EQ(answer.report.trace[1].prune_layer, 2);
  EXPECT_EQ(answer.report.trace[1].candidate_blocks.size(), 16);
  EXPECT_EQ(answer.report.trace[1].kept_blocks.size(), 10);
  EXPECT_EQ(answer.report.trace[2].prune_layer, 3);
  ExpectNaiveAgrees(options_, request, answer);
}

}  // namespace
}  // namespace slimfill::engine
