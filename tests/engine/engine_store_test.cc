// What the engine gives to the KV store and takes from it: reused prefixes, swapped blocks, a store that is gone.
#include "tests/engine/engine_fixture.h"

namespace slimfill::engine {
namespace {

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

TEST_F(EngineTest, WarmPrefixEqualsCold) {
  const std::vector<TokenId> document = Prompt(1000);
  for (const char* plan : {kHeadsPlan, kLinksPlan, kPaperPlan, kAttentionPlan}) {
    for (const PruningMode mode : {PruningMode::kAuto, PruningMode::kOff}) {
      store_ = *kvstore::LocalKvStore::Create({}, clock_, nullptr);
      const std::unique_ptr<StudyEngine> engine = MakeEngine(plan);
      std::vector<TokenId> first = document, second = document;
      for (const TokenId token : Prompt(40, 11)) first.push_back(token);
      for (const TokenId token : Prompt(100, 12)) second.push_back(token);
      Run(*engine, Request(first, mode));
      AwaitBlocks(16);
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

TEST_F(EngineTest, WhatADenseRequestStoresHasTheLinksThatPruningFollows) {
  options_.query_scale = 8;
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kLinksPlan);
  Run(*engine, Request(Prompt(1000), PruningMode::kOff));
  AwaitBlocks(16);
  const Answer warm = Run(*engine, Request(Prompt(1000)));
  EXPECT_GT(warm.report.cached_tokens, 0);
  SequenceRequest cold_request = Request(Prompt(1000));
  cold_request.no_store = true;
  const Answer cold = Run(*engine, cold_request);
  EXPECT_EQ(cold.report.cached_tokens, 0);
  ASSERT_EQ(warm.report.trace.size(), 2);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(warm.report.trace[i].scores, cold.report.trace[i].scores);
  EXPECT_EQ(warm, cold);
}

TEST_F(EngineTest, PlansWithOtherLinksDoNotShareAPrefix) {
  const SequenceRequest request = Request(Prompt(1000));
  Run(*MakeEngine(kHeadsPlan), request);
  AwaitBlocks(15);
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kLinksPlan);
  EXPECT_EQ(Run(*engine, request).report.cached_tokens, 0);
  AwaitBlocks(30);
  EXPECT_GT(Run(*engine, request).report.cached_tokens, 0);
  // A request's own plan that prunes at the same layer, but follows no links or others.
  SequenceRequest own = request;
  own.pruning.plan = std::make_shared<PrunePlan>(*ParsePlan(kHeadsPlan, engine->info().model));
  const Answer answer = Run(*engine, own);
  EXPECT_EQ(answer.report.cached_tokens, 0);
  EXPECT_EQ(answer, Run(*MakeEngine(kHeadsPlan), request));
}

TEST_F(EngineTest, TenantsDoNotShareAPrefix) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  SequenceRequest request = Request(Prompt(1000));
  request.tenant_salt = "a";
  Run(*engine, request);
  AwaitBlocks(15);
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
  AwaitBlocks(15);
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

TEST_F(EngineTest, SwapsThatCannotBeServedLeaveTheActiveSet) {
  DeadStore dead;
  const Answer answer = Run(*MakeEngine(kPaperPlan, 256, &dead), Request(Prompt(1500), PruningMode::kAuto, 60));
  EXPECT_EQ(answer.decode.swaps, 0);
  EXPECT_GT(answer.decode.missed_swaps, 0);
  EXPECT_EQ(answer.tokens.size(), 60);
}

TEST_F(EngineTest, DenseReusesAsManyLayersAsAreKept) {
  prefix_layers_ = 5;
  const std::unique_ptr<StudyEngine> engine = MakeEngine("off");
  const SequenceRequest request = Request(Prompt(1000), PruningMode::kOff);
  const Answer first = Run(*engine, request);
  EXPECT_EQ(first.report.cached_tokens, 0);
  AwaitBlocks(15);
  const Answer again = Run(*engine, request);
  EXPECT_EQ(again.report.cached_tokens, 15 * 64);  // all whole blocks: the last token runs in any case
  EXPECT_EQ(again, first);
}

// Runs idle chunks until there is nothing left to do; returns how many.
int Densify(Engine& engine) {
  int chunks = 0;
  while (engine.RunIdleChunk()) ++chunks;
  return chunks;
}

std::vector<TokenId> operator+(std::vector<TokenId> first, const std::vector<TokenId>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

class HotPrefixTest : public EngineTest {
 protected:
  // AUTO without a trace, for which every block would have to be scored.
  static SequenceRequest AutoRequest(std::vector<TokenId> prompt) {
    SequenceRequest request = Request(std::move(prompt));
    request.pruning.trace = false;
    return request;
  }
  Answer Dense(Engine& engine, SequenceRequest request) {
    request.pruning.mode = PruningMode::kOff;
    request.no_store = true;
    return Run(engine, request);
  }
  const std::vector<TokenId> document_ = Prompt(1000);
  const std::vector<TokenId> first_ = document_ + Prompt(40, 11), second_ = document_ + Prompt(100, 12);
};

TEST_F(HotPrefixTest, AfterIdleTimeTheNextQuestionIsAnsweredAsDenselyWould) {
  densify_min_value_ = 1000;
  for (const char* plan : {kHeadsPlan, kPaperPlan, kAttentionPlan}) {
    store_ = *kvstore::LocalKvStore::Create({}, clock_, nullptr);
    const std::unique_ptr<StudyEngine> engine = MakeEngine(plan);
    EXPECT_EQ(Densify(*engine), 0) << "nothing was asked yet";
    EXPECT_EQ(Run(*engine, AutoRequest(first_)).report.served_by, "cold");
    EXPECT_GT(Densify(*engine), 1);
    AwaitBlocks(2 * 16);
    EXPECT_EQ(Densify(*engine), 0) << "all is hot";
    const Answer hot = Run(*engine, AutoRequest(second_));
    EXPECT_EQ(hot.report.served_by, "hot");
    EXPECT_EQ(hot.report.cached_tokens, 960);
    EXPECT_FALSE(hot.report.pruned);
    EXPECT_EQ(hot, Dense(*engine, AutoRequest(second_)));
    EXPECT_EQ(engine->pages_used(), 0);
  }
}

TEST_F(HotPrefixTest, ADenseRequestLeavesItsPromptHotAndAHotOneWhatItAdded) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  SequenceRequest dense = AutoRequest(first_);
  dense.pruning.mode = PruningMode::kOff;
  EXPECT_EQ(Run(*engine, dense).report.served_by, "dense");
  AwaitBlocks(2 * 16);
  EXPECT_EQ(Run(*engine, AutoRequest(second_)).report.served_by, "hot");
  AwaitBlocks(2 * 18);  // the second prompt's last two blocks are its own
  const std::vector<TokenId> next = second_ + Prompt(70, 13);
  const Answer hot = Run(*engine, AutoRequest(next));
  EXPECT_EQ(hot.report.cached_tokens, 17 * 64);
  EXPECT_EQ(hot, Dense(*engine, AutoRequest(next)));
}

TEST_F(HotPrefixTest, TheNextTurnOfAChatReusesTheAnswerToo) {
  densify_min_value_ = 1000;
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  SequenceRequest request = AutoRequest(first_);
  request.sampling.max_tokens = 100;
  const Answer answer = Run(*engine, request);
  Densify(*engine);
  AwaitBlocks(2 * 17);
  const std::vector<TokenId> next = first_ + answer.tokens + Prompt(30, 14);
  const Answer hot = Run(*engine, AutoRequest(next));
  EXPECT_EQ(hot.report.served_by, "hot");
  EXPECT_EQ(hot.report.cached_tokens, (1040 + 100 - 1) / 64 * 64);
  EXPECT_EQ(hot, Dense(*engine, AutoRequest(next)));
}

TEST_F(HotPrefixTest, WhatIsPrunedIsNotStoredAsDense) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  ASSERT_TRUE(Run(*engine, AutoRequest(first_)).report.pruned);
  AwaitBlocks(16);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Run(*engine, AutoRequest(second_)).report.served_by, "warm");
}

TEST_F(HotPrefixTest, PruningIsPreferredWhereMostOfThePromptIsNew) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  SequenceRequest dense = AutoRequest(Prompt(128));
  dense.pruning.mode = PruningMode::kOff;
  Run(*engine, dense);
  AwaitBlocks(2 * 2);
  SequenceRequest request = AutoRequest(Prompt(128) + Prompt(1500, 15));
  const Answer warm = Run(*engine, request);
  EXPECT_EQ(warm.report.served_by, "warm");
  EXPECT_EQ(warm.report.cached_tokens, 128);
  request.no_store = true;
  EXPECT_EQ(warm, Run(*engine, request));
}

TEST_F(HotPrefixTest, RequestsThatWantPruningGetIt) {
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  SequenceRequest dense = AutoRequest(first_);
  dense.pruning.mode = PruningMode::kOff;
  Run(*engine, dense);
  AwaitBlocks(2 * 16);
  SequenceRequest custom = AutoRequest(second_);
  custom.pruning = {.mode = PruningMode::kCustom, .keep_ratio = {0.5f}};
  SequenceRequest traced = AutoRequest(second_);
  traced.pruning.trace = true;
  for (const SequenceRequest& request : {custom, traced}) EXPECT_TRUE(Run(*engine, request).report.pruned);
}

TEST_F(HotPrefixTest, UnfinishedWorkGivesItsPagesToARequestAndGoesOnLater) {
  densify_min_value_ = 1000;
  const int64_t page_bytes = (64 << 20) / MakeEngine(kHeadsPlan)->pages_total();
  const int64_t pages = 20 * options_.layers;  // enough for one such request, not for two
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan, 256, nullptr, pages * page_bytes);
  Run(*engine, AutoRequest(first_));
  ASSERT_TRUE(engine->RunIdleChunk());
  ASSERT_GT(engine->pages_used(), 0);
  EXPECT_EQ(Run(*engine, AutoRequest(Prompt(1000, 16))).report.served_by, "cold");
  EXPECT_EQ(engine->pages_used(), 0);
  EXPECT_GT(Densify(*engine), 0);
  AwaitBlocks(4 * 15);
  EXPECT_EQ(Run(*engine, AutoRequest(second_)).report.served_by, "hot");
}

TEST_F(HotPrefixTest, TenantsDoNotShareThemNorIsAnythingKeptWithoutTheStore) {
  densify_min_value_ = 1000;
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan);
  SequenceRequest request = AutoRequest(first_);
  request.no_store = true;
  Run(*engine, request);
  EXPECT_EQ(Densify(*engine), 0);
  request.no_store = false;
  request.tenant_salt = "a";
  Run(*engine, request);
  EXPECT_GT(Densify(*engine), 0);
  AwaitBlocks(2 * 16);
  request.tenant_salt = "b";
  EXPECT_EQ(Run(*engine, request).report.served_by, "cold");
}

TEST_F(HotPrefixTest, NothingIsDoneForAStoreThatIsGoneOrTooSmall) {
  densify_min_value_ = 1000;
  DeadStore dead;
  const std::unique_ptr<StudyEngine> without = MakeEngine(kHeadsPlan, 256, &dead);
  Run(*without, AutoRequest(first_));
  EXPECT_EQ(Densify(*without), 0);
  store_ = *kvstore::LocalKvStore::Create({.memory_bytes = 1 << 20}, clock_, nullptr);
  const std::unique_ptr<StudyEngine> small = MakeEngine(kHeadsPlan);
  Run(*small, AutoRequest(first_));
  EXPECT_EQ(Densify(*small), 0);
}

}  // namespace
}  // namespace slimfill::engine
