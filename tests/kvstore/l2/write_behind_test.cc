#include "kvstore/l2/write_behind.h"

#include <memory>

#include "absl/time/clock.h"
#include "base/metric_names.h"
#include "gtest/gtest.h"
#include "kvstore/l2/promoter.h"
#include "tests/kvstore/l2/tier_scene.h"

namespace slimfill::kvstore {
namespace {

class WriteBehindTest : public TierScene {
 protected:
  void Start(const WriteBehindOptions& options = {}) {
    writer_ = std::make_unique<WriteBehind>(*store_, l2_, options, clock_, &metrics_);
  }
  void Flush() { ASSERT_TRUE(writer_->Flush(absl::Now() + absl::Minutes(1))); }
  double Outcomes(const char* outcome) { return metrics_.Value(metric::kKvL2Writes, {outcome}); }

  std::unique_ptr<WriteBehind> writer_;
};

TEST_F(WriteBehindTest, CopiesTouchedBlocksWithTheirParents) {
  Start();
  PutIntoStore(1, 4);
  writer_->Touch(Chain(3));
  Flush();
  EXPECT_EQ(l2_.size(), 3u);
  for (uint32_t id = 1; id <= 3; ++id) {
    EXPECT_EQ(l2_.At(Key(id)).value, Bytes(id, kBlockBytes));
    EXPECT_EQ(l2_.At(Key(id)).parent, id == 1 ? BlockKey{} : Key(id - 1));
  }
  EXPECT_EQ(Outcomes("stored"), 3);
}

TEST_F(WriteBehindTest, ABlockWithoutALinkGetsItsPredecessorInTheChain) {
  Start();
  const std::vector<std::byte> value = Bytes(2, kBlockBytes);
  ASSERT_TRUE(store_->Put({Item(Key(2), value, Key(1))}, 0, Deadline())->front().ok());  // before its parent
  PutIntoStore(1, 1);
  writer_->Touch(Chain(2));
  Flush();
  EXPECT_EQ(l2_.At(Key(2)).parent, Key(1));
}

TEST_F(WriteBehindTest, ABlockKeepsItsTenantThroughTheL2) {
  Start();
  const std::vector<std::byte> value = Bytes(1, kBlockBytes);
  PutItem item = Item(Key(1), value);
  item.tenant = 5;
  ASSERT_TRUE(store_->Put({item}, 0, Deadline())->front().ok());
  writer_->Touch(Chain(1));
  Flush();
  EXPECT_EQ(l2_.At(Key(1)).tenant, 5u);
  const auto other = LocalKvStore::Create({.memory_bytes = 1 << 20}, clock_, nullptr).value();
  EXPECT_EQ(Promoter(*other, l2_, {}, clock_, nullptr).Promote(Chain(1), Deadline()), 1);
  EXPECT_EQ(other->ReadWhole(Key(1))->tenant, 5u) << "its share counts there, too";
}

TEST_F(WriteBehindTest, WritesABlockOnceUntilItIsForgotten) {
  Start({.known_for = absl::Hours(1)});
  PutIntoStore(1, 3);
  for (int i = 0; i < 3; ++i) writer_->Touch(Chain(3));
  writer_->MarkKnown(Chain(3));
  Flush();
  EXPECT_EQ(l2_.puts(), 3u);
  clock_.Advance(absl::Hours(2));
  writer_->Touch(Chain(3));
  Flush();
  EXPECT_EQ(l2_.puts(), 6u) << "the L2 may have dropped it since";
}

TEST_F(WriteBehindTest, DropsAndCountsWhatDoesNotFitIntoTheQueue) {
  Start({.max_queue = 10});
  PutIntoStore(1, 100);
  l2_.Hold(true);
  writer_->Touch(Chain(1));
  l2_.AwaitCaller();  // the writer has taken it
  writer_->Touch(Chain(100));
  EXPECT_EQ(Outcomes("queue_full"), 89);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Queue), 10);
  l2_.Hold(false);
  Flush();
  EXPECT_EQ(l2_.size(), 11u);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Queue), 0);
  writer_->Touch(Chain(20));  // dropped ones get another chance
  Flush();
  EXPECT_EQ(l2_.size(), 20u);
}

TEST_F(WriteBehindTest, QueuedBlocksAreNotPinned) {
  Start();
  PutIntoStore(1, 2);
  l2_.Hold(true);
  writer_->Touch(Chain(1));
  l2_.AwaitCaller();
  writer_->Touch(Chain(2));
  EXPECT_TRUE(store_->Delete({Key(2)}).front().ok());
  EXPECT_TRUE(store_->Delete({Key(1)}).front().ok()) << "its bytes stay until they are written";
  l2_.Hold(false);
  Flush();
  EXPECT_EQ(l2_.At(Key(1)).value, Bytes(1, kBlockBytes));
  EXPECT_FALSE(l2_.Has(Key(2)));
  EXPECT_EQ(Outcomes("gone"), 1);
}

TEST_F(WriteBehindTest, FailedWritesAreTriedAgainWithTheNextTouch) {
  Start();
  PutIntoStore(1, 3);
  l2_.Fail(absl::UnavailableError("gone"));
  writer_->Touch(Chain(3));
  Flush();
  EXPECT_EQ(Outcomes("failed"), 3);
  l2_.Fail(absl::OkStatus());
  writer_->Touch(Chain(3));
  Flush();
  EXPECT_EQ(l2_.size(), 3u);
}

TEST_F(WriteBehindTest, AFullL2IsNotOfferedTheSameAgainAndAgain) {
  Start({.known_for = absl::Hours(1)});
  PutIntoStore(1, 3);
  l2_.Fail(absl::ResourceExhaustedError("full"));
  for (int i = 0; i < 5; ++i) {
    writer_->Touch(Chain(3));
    Flush();
  }
  EXPECT_EQ(Outcomes("refused"), 3);
  l2_.Fail(absl::OkStatus());
  clock_.Advance(absl::Hours(2));
  writer_->Touch(Chain(3));
  Flush();
  EXPECT_EQ(l2_.size(), 3u);
}

TEST_F(WriteBehindTest, WritesInBatchesOfBoundedBytes) {
  Start({.batch_bytes = 1});
  PutIntoStore(1, 20);
  writer_->Touch(Chain(20));
  Flush();
  EXPECT_EQ(l2_.size(), 20u);
}

TEST_F(WriteBehindTest, FlushGivesUpAtItsDeadline) {
  Start();
  PutIntoStore(1, 1);
  l2_.Hold(true);
  writer_->Touch(Chain(1));
  l2_.AwaitCaller();
  EXPECT_FALSE(writer_->Flush(absl::Now()));
  l2_.Hold(false);
}

}  // namespace
}  // namespace slimfill::kvstore
