// Values that arrive in place, with their parents or before them: what a second level needs of the store.
#include <cstring>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "base/metric_names.h"
#include "base/metrics.h"
#include "gtest/gtest.h"
#include "kvstore/core/local_store.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

constexpr size_t kBlock = 4000;

class InPlace : public ::testing::Test {
 protected:
  absl::StatusOr<PendingValue> Reserve(uint32_t id, uint32_t parent, bool parent_is_coming) {
    return store_->Reserve({.key = Key(id),
                            .parent = parent == 0 ? BlockKey{} : Key(parent),
                            .bytes = kBlock,
                            .parent_is_coming = parent_is_coming},
                           0);
  }
  absl::Status Fill(PendingValue value, uint32_t id) {
    const std::vector<std::byte> bytes = Bytes(id, kBlock);
    // In two pieces, as a socket would.
    for (const size_t piece : {size_t{1500}, kBlock - 1500}) {
      std::memcpy(value.Unwritten().data(), bytes.data() + value.written(), piece);
      value.MarkWritten(piece);
    }
    EXPECT_TRUE(value.Unwritten().empty());
    return store_->Publish(std::move(value));
  }

  FakeClock clock_;
  Metrics metrics_;
  std::unique_ptr<LocalKvStore> store_ = LocalKvStore::Create({.memory_bytes = 64 * 1024}, clock_, &metrics_).value();
};

TEST_F(InPlace, ValuesAreReadAsTheyWereFilled) {
  ASSERT_TRUE(Fill(*Reserve(1, 0, false), 1).ok());
  const auto whole = store_->ReadWhole(Key(1));
  ASSERT_TRUE(whole.ok());
  const std::vector<std::byte> expected = Bytes(1, kBlock);
  EXPECT_EQ(whole->range.bytes, absl::MakeConstSpan(expected));
  EXPECT_EQ(whole->parent, BlockKey{});
  EXPECT_EQ(store_->ReadWhole(Key(2)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Stats(absl::InfiniteFuture())->hits + store_->Stats(absl::InfiniteFuture())->misses, 0u);
}

TEST_F(InPlace, AValueThatChangedInMemoryIsDroppedByWhoeverReadsItWhole) {
  ASSERT_TRUE(Fill(*Reserve(1, 0, false), 1).ok());
  const_cast<std::byte&>(store_->ReadWhole(Key(1))->range.bytes[kBlock - 1]) ^= std::byte{1};
  EXPECT_EQ(store_->ReadWhole(Key(1)).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(store_->ReadWhole(Key(1)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Stats(absl::InfiniteFuture())->bytes_used, 0u);
  EXPECT_EQ(metrics_.Value(metric::kKvCorruptBlocks), 1);
  EXPECT_TRUE(Fill(*Reserve(1, 0, false), 1).ok()) << "it can be stored again";
}

TEST_F(InPlace, AChildReservedBeforeItsParentIsThereHangsOnItAllTheSame) {
  auto parent = Reserve(1, 0, false);
  auto child = Reserve(2, 1, /*parent_is_coming=*/true);
  ASSERT_TRUE(parent.ok() && child.ok());
  ASSERT_TRUE(Fill(*std::move(parent), 1).ok());
  ASSERT_TRUE(Fill(*std::move(child), 2).ok());
  EXPECT_EQ(store_->ReadWhole(Key(2))->parent, Key(1));
  EXPECT_EQ(store_->Delete({Key(1)}).front().code(), absl::StatusCode::kFailedPrecondition) << "its child is there";
}

TEST_F(InPlace, RoomIsMadeForAChildOnlyWhenItsParentIsThereOrComing) {
  for (uint32_t id = 100; store_->Stats(absl::InfiniteFuture())->evictions == 0; ++id) {
    ASSERT_TRUE(Fill(*Reserve(id, 0, false), id).ok());
  }
  EXPECT_EQ(Reserve(2, 1, false).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Reserve(2, 1, /*parent_is_coming=*/true).ok());
}

}  // namespace
}  // namespace slimfill::kvstore
