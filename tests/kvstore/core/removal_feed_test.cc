#include "kvstore/core/removal_feed.h"

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/core/local_store.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr size_t kAll = 1000;
constexpr absl::Time kNoDeadline = absl::InfiniteFuture();

TEST(RemovalFeed, EveryListenerHearsWhatLeavesWhileItListens) {
  RemovalFeed feed;
  feed.Publish(Key(1));
  const auto first = feed.Subscribe();
  feed.Publish(Key(2));
  const auto second = feed.Subscribe();
  feed.Publish(Key(3));
  EXPECT_THAT(first->Take(1).keys, ElementsAre(Key(2)));
  EXPECT_THAT(first->Take(kAll).keys, ElementsAre(Key(3)));
  EXPECT_THAT(second->Take(kAll).keys, ElementsAre(Key(3)));
  EXPECT_TRUE(second->Take(kAll).empty());
}

TEST(RemovalFeed, SlowListenersHearHowManyTheyMissed) {
  RemovalFeed feed(/*max_pending=*/2);
  const auto slow = feed.Subscribe();
  for (uint32_t id = 1; id <= 5; ++id) feed.Publish(Key(id));
  RemovalFeed::Removals removals = slow->Take(1);
  EXPECT_THAT(removals.keys, ElementsAre(Key(1)));
  EXPECT_EQ(removals.unnamed, 0u) << "the gap is behind what still waits";
  feed.Publish(Key(6));
  removals = slow->Take(kAll);
  EXPECT_THAT(removals.keys, ElementsAre(Key(2)));
  EXPECT_EQ(removals.unnamed, 4u);
  feed.Publish(Key(7));
  EXPECT_THAT(slow->Take(kAll).keys, ElementsAre(Key(7)));
}

TEST(RemovalFeed, NewsWakeWhoWaitsAndCloseEndsTheWaiting) {
  RemovalFeed feed;
  const auto listener = feed.Subscribe();
  std::thread publisher([&] { feed.Publish(Key(1)); });
  EXPECT_TRUE(feed.AwaitNews());
  EXPECT_THAT(listener->Take(kAll).keys, ElementsAre(Key(1)));
  publisher.join();
  std::thread closer([&] { feed.Close(); });
  EXPECT_FALSE(feed.AwaitNews());
  closer.join();
}

TEST(RemovalFeed, HearsOfEveryWayInWhichSharedBlocksLeaveAStore) {
  FakeClock clock;
  constexpr size_t kBlock = 20000;
  const auto store = LocalKvStore::Create({.memory_bytes = 4 * Arena::Charge(kBlock)}, clock, nullptr).value();
  const auto put = [&](uint32_t id, LeaseId lease) {
    const std::vector<std::byte> value = Bytes(id, kBlock);
    return store->Put({Item(Key(id), value)}, lease, kNoDeadline)->front().ok();
  };
  const auto listener = store->removals().Subscribe();
  for (uint32_t id = 1; id <= 5; ++id) ASSERT_TRUE(put(id, 0));
  EXPECT_THAT(listener->Take(kAll).keys, ElementsAre(Key(1))) << "evicted";
  ASSERT_TRUE(store->Delete({Key(3)}).front().ok());
  EXPECT_THAT(listener->Take(kAll).keys, ElementsAre(Key(3))) << "deleted";
  const_cast<std::byte&>(store->Read(Key(4), 0, 1, 0)->bytes[0]) ^= std::byte{1};
  EXPECT_FALSE(store->Read(Key(4), 0, 1, 0).ok());
  EXPECT_THAT(listener->Take(kAll).keys, ElementsAre(Key(4))) << "damaged";
  const LeaseId lease = store->OpenPrivate(kNoDeadline).value();
  ASSERT_TRUE(put(9, lease));
  store->Release(lease);
  EXPECT_THAT(listener->Take(kAll).keys, IsEmpty()) << "private blocks are nobody's business";
}

}  // namespace
}  // namespace slimfill::kvstore
