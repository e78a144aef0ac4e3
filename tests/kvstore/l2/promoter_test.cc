#include "kvstore/l2/promoter.h"

#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kvstore/l2/tier_scene.h"

namespace slimfill::kvstore {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PromoterTest : public TierScene {
 protected:
  int64_t Promote(std::vector<BlockKey> keys, const PromoterOptions& options = {}) {
    return Promoter(*store_, l2_, options, clock_, &metrics_).Promote(keys, Deadline());
  }
};

TEST_F(PromoterTest, BringsWhatTheL2Has) {
  PutIntoL2(1, 5);
  EXPECT_EQ(Promote(Chain(5)), 5);
  EXPECT_EQ(InStore(5), 5);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Hits), 5);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Misses), 0);
}

TEST_F(PromoterTest, StopsAtTheFirstGap) {
  PutIntoL2(1, 3);
  PutIntoL2(5, 6);
  EXPECT_EQ(Promote(Chain(6)), 3);
  EXPECT_EQ(InStore(6), 3);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Misses), 3);
}

TEST_F(PromoterTest, AnUnknownChainCostsOneSmallLookUp) {
  EXPECT_EQ(Promote(Chain(1000)), 0);
  EXPECT_THAT(l2_.finds(), ElementsAre(16));
  EXPECT_THAT(l2_.gets(), ElementsAre());
}

TEST_F(PromoterTest, LooksUpMoreAndMoreOfAKnownOne) {
  PutIntoL2(1, 150);
  EXPECT_EQ(Promote(Chain(200)), 150);
  EXPECT_THAT(l2_.finds(), ElementsAre(16, 64, 120));
  EXPECT_EQ(InStore(200), 150);
}

TEST_F(PromoterTest, ADamagedBlockEndsThePrefixAndIsNeverSeen) {
  PutIntoL2(1, 5);
  l2_.MakeUnreadable(Key(3), absl::DataLossError("damaged"));
  EXPECT_EQ(Promote(Chain(5)), 2);
  EXPECT_EQ(InStore(5), 2);
  EXPECT_TRUE(absl::IsNotFound(store_->ReadWhole(Key(3)).status()));
}

TEST_F(PromoterTest, AFailingL2IsAMiss) {
  PutIntoL2(1, 5);
  l2_.Fail(absl::UnavailableError("gone"));
  EXPECT_EQ(Promote(Chain(5)), 0);
  EXPECT_EQ(InStore(5), 0);
}

TEST_F(PromoterTest, NeverTakesMoreThanItsShare) {
  PutIntoL2(1, 100);
  EXPECT_EQ(Promote(Chain(100), {.max_bytes = 10 * kBlockBytes}), 10);
  EXPECT_EQ(Promote(Chain(90, 11), {.max_bytes = 1 << 30, .batch_bytes = 8 * kBlockBytes}), 90);
  EXPECT_THAT(l2_.gets(), ElementsAre(10, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 2));
  EXPECT_EQ(InStore(100), 100);
}

TEST_F(PromoterTest, RefusesValuesThatTheStoreWouldNotTake) {
  l2_.Store(Key(1), {}, std::vector<std::byte>((64 << 20) + 1));
  EXPECT_EQ(Promote(Chain(1)), 0);
  EXPECT_THAT(l2_.gets(), IsEmpty());
}

TEST_F(PromoterTest, BlocksThatAreInTheStoreAlreadyAreNotReadAgain) {
  PutIntoL2(1, 5);
  PutIntoStore(1, 5);
  EXPECT_EQ(Promote(Chain(5)), 5);
  EXPECT_THAT(l2_.gets(), ElementsAre(0));
}

// --- A store that is too small

class SmallStorePromoterTest : public PromoterTest {
 protected:
  static constexpr uint64_t kRoom = 20;  // blocks
  SmallStorePromoterTest() { store_ = LocalKvStore::Create({.memory_bytes = kRoom * 4096}, clock_, nullptr).value(); }
};

TEST_F(SmallStorePromoterTest, OlderBlocksMakeRoomAndHalfOfTheMemoryIsTheMost) {
  PutIntoStore(1001, 1020);
  PutIntoL2(1, 30);
  const int64_t promoted = Promote(Chain(30));
  EXPECT_GE(promoted, 10);
  EXPECT_LE(promoted * kBlockBytes, kRoom * 4096 / 2);
  EXPECT_EQ(InStore(30), promoted);
}

TEST_F(SmallStorePromoterTest, LeasedBlocksStayAndThePromotionEndsWhereRoomDoes) {
  PutIntoStore(1001, 1018);
  const PrefixMatch leased = store_->MatchPrefix(Chain(18, 1001), Deadline()).value();
  ASSERT_GE(leased.blocks, 15);
  PutIntoL2(1, 10);
  const int64_t promoted = Promote(Chain(10));
  EXPECT_LT(promoted, 10);
  EXPECT_EQ(InStore(10), promoted);
  EXPECT_EQ(store_->MatchPrefix(Chain(18, 1001), Deadline())->blocks, leased.blocks);
}

TEST_F(SmallStorePromoterTest, ParentsGoAfterTheirChildren) {
  PutIntoL2(1, 10);
  ASSERT_EQ(Promote(Chain(10)), 10);
  PutIntoStore(1001, 1015);  // pushes some of them out: from the end of the chain
  const int64_t left = InStore(10);
  EXPECT_LT(left, 10);
  for (uint32_t id = 1; id <= 10; ++id) {
    EXPECT_EQ(store_->ReadWhole(Key(id)).ok(), id <= left) << "a child without its parent: block " << id;
  }
}

}  // namespace
}  // namespace slimfill::kvstore
