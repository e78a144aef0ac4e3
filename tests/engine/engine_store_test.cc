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
  while (store_->Stats(absl::InfiniteFuture())->blocks < 15) absl::SleepFor(absl::Milliseconds(1));
  const Answer again = Run(*engine, request);
  EXPECT_EQ(again.report.cached_tokens, 14 * 64);  // all but the blocks of the last 64 tokens
  EXPECT_EQ(again, first);
}

}  // namespace
}  // namespace slimfill::engine
