#include "kvstore/l2/tiered_store.h"

#include <atomic>
#include <memory>
#include <thread>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/metric_names.h"
#include "gtest/gtest.h"
#include "tests/kvstore/l2/tier_scene.h"

namespace slimfill::kvstore {
namespace {

class TieredStoreTest : public TierScene {
 protected:
  void Start(const TierOptions& options = {}) {
    tier_ = std::make_unique<TieredStore>(*store_, l2_, options, clock_, &metrics_);
  }
  void Flush() { ASSERT_TRUE(tier_->Flush(absl::Now() + absl::Minutes(1))); }
  int64_t Match(const std::vector<BlockKey>& keys) {
    const PrefixMatch match = tier_->MatchPrefix(keys, Deadline()).value();
    tier_->Release(match.lease);
    return match.blocks;
  }

  std::unique_ptr<TieredStore> tier_;
};

TEST_F(TieredStoreTest, MatchesAcrossBothLevels) {
  Start();
  PutIntoStore(1, 3);
  PutIntoL2(4, 6);
  const PrefixMatch match = tier_->MatchPrefix(Chain(8), Deadline()).value();
  EXPECT_EQ(match.blocks, 6);
  EXPECT_EQ(InStore(8), 6);
  // The lease covers what was promoted, and no other is left.
  EXPECT_EQ(store_->Delete({Key(6)}).front().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->Stats(Deadline())->leases, 1u);
  tier_->Release(match.lease);
  EXPECT_TRUE(store_->Delete({Key(6)}).front().ok());
}

TEST_F(TieredStoreTest, CompleteAndUnknownPrefixesAreAnsweredAsWithoutAnL2) {
  Start();
  PutIntoStore(1, 3);
  EXPECT_EQ(Match(Chain(3)), 3);
  EXPECT_TRUE(l2_.finds().empty()) << "nothing was missing";
  EXPECT_EQ(Match(Chain(3, 100)), 0);
  EXPECT_EQ(Match({}), 0);
  EXPECT_EQ(store_->Stats(Deadline())->leases, 0u);
}

TEST_F(TieredStoreTest, ABlockGoesToTheL2WhenItIsTouchedASecondTime) {
  Start();
  const std::vector<std::byte> value = Bytes(1, kBlockBytes);
  ASSERT_TRUE(tier_->Put({Item(Key(1), value)}, 0, Deadline())->front().ok());
  Flush();
  EXPECT_EQ(l2_.size(), 0u) << "nobody has asked for it yet";
  EXPECT_EQ(Match(Chain(2)), 1);
  Flush();
  EXPECT_TRUE(l2_.Has(Key(1)));
  EXPECT_EQ(l2_.size(), 1u);
  EXPECT_EQ(Match(Chain(2)), 1);
  Flush();
  EXPECT_EQ(l2_.puts(), 1u);
}

TEST_F(TieredStoreTest, WhatCameFromTheL2IsNotWrittenBack) {
  Start();
  PutIntoL2(1, 5);
  EXPECT_EQ(Match(Chain(5)), 5);
  EXPECT_EQ(Match(Chain(5)), 5);
  Flush();
  EXPECT_EQ(l2_.puts(), 0u);
}

TEST_F(TieredStoreTest, ABlockThatTheL2HasLostOrDamagedIsWrittenAgain) {
  Start();
  PutIntoStore(1, 2);
  EXPECT_EQ(Match(Chain(2)), 2);
  Flush();
  ASSERT_EQ(l2_.size(), 2u);
  l2_.Lose(Key(1));
  l2_.MakeUnreadable(Key(2), absl::DataLossError("damaged"));
  for (const absl::Status& status : store_->Delete(Chain(2))) ASSERT_TRUE(status.ok());
  EXPECT_EQ(Match(Chain(2)), 0) << "neither has it";
  PutIntoStore(1, 2);  // computed again
  EXPECT_EQ(Match(Chain(2)), 2);
  Flush();
  EXPECT_EQ(l2_.puts(), 4u);
  EXPECT_EQ(l2_.At(Key(1)).value, Bytes(1, kBlockBytes));
}

TEST_F(TieredStoreTest, PrivateBlocksStayHere) {
  Start();
  const LeaseId lease = tier_->OpenPrivate(Deadline()).value();
  const std::vector<std::byte> value = Bytes(1, kBlockBytes);
  ASSERT_TRUE(tier_->Put({Item(Key(1), value)}, lease, Deadline())->front().ok());
  std::vector<std::byte> got(kBlockBytes);
  ASSERT_TRUE(tier_->Fetch({Into(Key(1), got)}, lease, Deadline())->front().ok());
  EXPECT_EQ(Match(Chain(1)), 0);
  Flush();
  EXPECT_EQ(l2_.puts(), 0u);
}

TEST_F(TieredStoreTest, AFailingL2CostsNothingButTheBlocks) {
  Start();
  PutIntoStore(1, 2);
  PutIntoL2(3, 4);
  l2_.Fail(absl::UnavailableError("gone"));
  EXPECT_EQ(Match(Chain(4)), 2);
  l2_.Fail(absl::OkStatus());
  EXPECT_EQ(Match(Chain(4)), 4);
}

TEST_F(TieredStoreTest, OnePromotionServesAllWhoWaitForIt) {
  Start({.promotions = 2});
  PutIntoL2(1, 10);
  l2_.Hold(true);
  constexpr int kCalls = 20;
  absl::BlockingCounter answers(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    // Different questions about one document.
    std::vector<BlockKey> keys = Chain(10);
    keys.push_back(Key(1000 + i));
    tier_->MatchPrefixAsync(/*session=*/0, keys, Deadline(), [&](const absl::StatusOr<PrefixMatch>& match) {
      EXPECT_EQ(match->blocks, 10);
      store_->Release(match->lease);
      answers.DecrementCount();
    });
  }
  l2_.AwaitCaller();
  l2_.Hold(false);
  answers.Wait();
  EXPECT_EQ(l2_.finds().size(), 1u);
  EXPECT_EQ(l2_.gets().size(), 1u);
  EXPECT_EQ(store_->Stats(Deadline())->leases, 0u);
}

TEST_F(TieredStoreTest, AsyncCallsNeverBlockAndTooManyAreAnsweredFromTheStore) {
  Start({.promotions = 1, .max_waiting = 3});
  PutIntoStore(1, 1);
  PutIntoL2(2, 2);
  PutIntoL2(11, 13);
  l2_.Hold(true);
  absl::BlockingCounter answers(3);
  const auto count = [&](const absl::StatusOr<PrefixMatch>& match) {
    EXPECT_EQ(match->blocks, 1);
    answers.DecrementCount();
  };
  for (uint32_t id = 11; id <= 13; ++id) tier_->MatchPrefixAsync(/*session=*/0, {Key(id)}, Deadline(), count);
  int64_t answered = -1;
  tier_->MatchPrefixAsync(/*session=*/0, Chain(2), Deadline(), [&](const auto& match) { answered = match->blocks; });
  EXPECT_EQ(answered, 1) << "at once, without what the L2 has";
  EXPECT_EQ(metrics_.Value(metric::kKvL2Skipped, {"busy"}), 1);
  l2_.Hold(false);
  answers.Wait();
  EXPECT_EQ(Match(Chain(2)), 2);
}

TEST_F(TieredStoreTest, ACallWhoseTimeHasPassedInTheQueueIsAnsweredFromTheStore) {
  Start({.promotions = 1});
  PutIntoStore(1, 1);
  PutIntoL2(2, 2);
  l2_.Hold(true);
  absl::Notification first, second;
  tier_->MatchPrefixAsync(/*session=*/0, {Key(50)}, Deadline(), [&](const auto&) { first.Notify(); });
  l2_.AwaitCaller();
  int64_t blocks = -1;
  tier_->MatchPrefixAsync(/*session=*/0, Chain(2), clock_.Now() + absl::Seconds(1), [&](const auto& match) {
    blocks = match->blocks;
    second.Notify();
  });
  clock_.Advance(absl::Milliseconds(900));  // of the second, 800 are for the promotion
  l2_.Hold(false);
  first.WaitForNotification();
  second.WaitForNotification();
  EXPECT_EQ(blocks, 1);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Skipped, {"no_time"}), 1);
}

TEST_F(TieredStoreTest, TheEndAnswersWhoeverWaits) {
  Start({.promotions = 1});
  PutIntoL2(1, 30);
  l2_.Hold(true);
  std::atomic<int> answers = 0;
  for (uint32_t id = 1; id <= 20; ++id) {
    tier_->MatchPrefixAsync(/*session=*/0, {Key(id)}, Deadline(), [&](const absl::StatusOr<PrefixMatch>& match) {
      EXPECT_TRUE(match.ok());
      ++answers;
    });
  }
  l2_.AwaitCaller();
  std::thread end([&] { tier_.reset(); });
  l2_.Hold(false);
  end.join();
  EXPECT_EQ(answers, 20);
}

TEST_F(TieredStoreTest, ErrorsOfTheStoreAreItsOwn) {
  Start();
  EXPECT_EQ(tier_->MatchPrefix(Chain(3), clock_.Now()).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(tier_->MatchPrefix(std::vector<BlockKey>(20000), Deadline()).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(l2_.finds().empty());
}

TEST_F(TieredStoreTest, ManyThreadsSeeRightBytesOnly) {
  Start({.promotions = 3});
  PutIntoL2(1, 200);
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t length = 10 + t; length <= 200; length += 13) {
        const PrefixMatch match = tier_->MatchPrefix(Chain(length), Deadline()).value();
        EXPECT_GE(match.blocks, 0);
        for (uint32_t id = 1; id <= match.blocks; id += 7) {
          std::vector<std::byte> got(kBlockBytes);
          EXPECT_TRUE(tier_->Fetch({Into(Key(id), got)}, match.lease, Deadline())->front().ok());
          EXPECT_EQ(got, Bytes(id, kBlockBytes));
        }
        tier_->Release(match.lease);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Match(Chain(200)), 200);
  EXPECT_EQ(store_->Stats(Deadline())->leases, 0u);
}

}  // namespace
}  // namespace slimfill::kvstore
