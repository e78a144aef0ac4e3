#include "kvstore/core/local_store.h"

#include <memory>
#include <string>
#include <vector>

#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/store_calls.h"

namespace slimfill::kvstore {
namespace {

using ::testing::HasSubstr;
using Code = absl::StatusCode;

constexpr absl::Time kNoDeadline = absl::InfiniteFuture();
constexpr size_t kBlock = 4096 - Arena::kOverheadBytes;  // a block that is charged 4 KiB

class LocalKvStoreTest : public ::testing::Test {
 protected:
  LocalKvStoreTest() { Restart({.memory_bytes = 64 * 1024}); }  // 16 blocks

  void Restart(const LocalStoreOptions& options) {
    auto created = LocalKvStore::Create(options, clock_, &metrics_);
    ASSERT_TRUE(created.ok()) << created.status();
    store_ = *std::move(created);
  }

  Code Put(uint32_t id, uint32_t parent = 0, LeaseId lease = 0, size_t size = kBlock) {
    return PutBlock(*store_, id, size, lease, kNoDeadline, parent);
  }
  Code Fetch(uint32_t id, LeaseId lease = 0, size_t size = kBlock) {
    return FetchBlock(*store_, id, size, lease, kNoDeadline);
  }

  PrefixMatch Match(std::vector<uint32_t> ids) {
    std::vector<BlockKey> keys;
    for (uint32_t id : ids) keys.push_back(Key(id));
    return store_->MatchPrefix(keys, kNoDeadline).value();
  }

  StoreStats Stats() { return store_->Stats(kNoDeadline).value(); }
  LeaseId OpenPrivate() { return store_->OpenPrivate(kNoDeadline).value(); }

  FakeClock clock_;
  Metrics metrics_;
  std::unique_ptr<LocalKvStore> store_;
};

TEST_F(LocalKvStoreTest, FetchReturnsThePartsThatWerePutInOrder) {
  const std::vector<std::byte> value = Bytes(1, 1000);
  const auto parts = absl::MakeConstSpan(value);
  const PutItem item{.key = Key(1), .parts = {parts.subspan(0, 10), parts.subspan(10, 0), parts.subspan(10)}};
  ASSERT_TRUE(store_->Put({item}, 0, kNoDeadline)->front().ok());
  EXPECT_EQ(Fetch(1, 0, 1000), Code::kOk);
}

TEST_F(LocalKvStoreTest, FetchReadsRanges) {
  Restart({.memory_bytes = 1 << 20});
  ASSERT_EQ(Put(1, 0, 0, 200000), Code::kOk);
  const std::vector<std::byte> value = Bytes(1, 200000);
  for (const auto& [offset, size] : std::vector<std::pair<uint64_t, size_t>>{
           {0, 1}, {65535, 2}, {65536, 65536}, {131072, 68928}, {199999, 1}, {7, 199993}}) {
    std::vector<std::byte> got(size);
    ASSERT_TRUE(store_->Fetch({Into(Key(1), got, offset)}, 0, kNoDeadline)->front().ok());
    EXPECT_EQ(absl::MakeConstSpan(got), absl::MakeConstSpan(value).subspan(offset, size)) << offset << "+" << size;
  }
}

TEST_F(LocalKvStoreTest, FetchOutsideTheValueLeavesTheDestinationAlone) {
  ASSERT_EQ(Put(1), Code::kOk);
  std::vector<std::byte> got(10);
  for (uint64_t offset : {uint64_t{kBlock - 9}, uint64_t{kBlock + 1}, ~uint64_t{0}}) {
    const auto statuses = store_->Fetch({Into(Key(1), got, offset)}, 0, kNoDeadline);
    EXPECT_EQ(statuses->front().code(), Code::kOutOfRange);
  }
}

TEST_F(LocalKvStoreTest, ItemsFailOneByOne) {
  ASSERT_EQ(Put(1), Code::kOk);
  std::vector<std::byte> a(kBlock), b(kBlock, std::byte{7});
  const auto statuses = store_->Fetch({Into(Key(2), b), Into(Key(1), a)}, 0, kNoDeadline);
  EXPECT_EQ((*statuses)[0].code(), Code::kNotFound);
  EXPECT_TRUE((*statuses)[1].ok());
  EXPECT_EQ(a, Bytes(1, kBlock));
  EXPECT_THAT(b, ::testing::Each(std::byte{7}));
}

TEST_F(LocalKvStoreTest, KeyThatIsPresentKeepsItsValue) {
  ASSERT_EQ(Put(1), Code::kOk);
  const std::vector<std::byte> other = Bytes(99, kBlock);
  EXPECT_TRUE(store_->Put({Item(Key(1), other)}, 0, kNoDeadline)->front().ok());
  EXPECT_EQ(Fetch(1), Code::kOk);
  EXPECT_EQ(Stats().blocks, 1u);
  EXPECT_EQ(Stats().puts, 1u);
}

TEST_F(LocalKvStoreTest, ValueUnderConstructionIsInvisible) {
  auto pending = store_->Reserve({.key = Key(1), .bytes = 100}, 0);
  ASSERT_TRUE(pending.ok());
  const std::vector<std::byte> value = Bytes(1, 100);
  ASSERT_TRUE(pending->Append(absl::MakeConstSpan(value).subspan(0, 99)).ok());
  EXPECT_EQ(Fetch(1, 0, 100), Code::kNotFound);
  EXPECT_EQ(Match({1}).blocks, 0);
  ASSERT_TRUE(pending->Append(absl::MakeConstSpan(value).subspan(99)).ok());
  ASSERT_TRUE(store_->Publish(*std::move(pending)).ok());
  EXPECT_EQ(Fetch(1, 0, 100), Code::kOk);
}

TEST_F(LocalKvStoreTest, AbandonedValueGivesItsRoomBack) {
  { auto pending = store_->Reserve({.key = Key(1), .bytes = 40000}, 0); }
  EXPECT_EQ(Stats().bytes_used, 0u);
}

TEST_F(LocalKvStoreTest, RefusesMoreBytesThanAnnounced) {
  auto pending = store_->Reserve({.key = Key(1), .bytes = 100}, 0);
  ASSERT_TRUE(pending.ok());
  const absl::Status status = pending->Append(Bytes(1, 101));
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("100 bytes"), HasSubstr("101")));
}

TEST_F(LocalKvStoreTest, SlowerOfTwoWritersIsDroppedQuietly) {
  auto first = store_->Reserve({.key = Key(1), .bytes = 100}, 0);
  auto second = store_->Reserve({.key = Key(1), .bytes = 100}, 0);
  ASSERT_TRUE(first->Append(Bytes(1, 100)).ok());
  ASSERT_TRUE(second->Append(Bytes(2, 100)).ok());
  EXPECT_TRUE(store_->Publish(*std::move(first)).ok());
  EXPECT_TRUE(store_->Publish(*std::move(second)).ok());
  EXPECT_EQ(Fetch(1, 0, 100), Code::kOk);
  EXPECT_EQ(Stats().bytes_used, Arena::Charge(100));
}

TEST_F(LocalKvStoreTest, EvictsTheLeastRecentlyUsed) {
  for (uint32_t id = 1; id <= 16; ++id) ASSERT_EQ(Put(id), Code::kOk);
  ASSERT_EQ(Fetch(1), Code::kOk);
  ASSERT_EQ(Put(17), Code::kOk);
  EXPECT_EQ(Fetch(1), Code::kOk);
  EXPECT_EQ(Fetch(2), Code::kNotFound);
  EXPECT_EQ(Stats().evictions, 1u);
  EXPECT_EQ(Stats().bytes_used, Stats().bytes_limit);
  EXPECT_EQ(metrics_.Value(metric::kKvEvictions), 1);
}

TEST_F(LocalKvStoreTest, EvictsChildrenBeforeTheirParents) {
  ASSERT_EQ(Put(1), Code::kOk);
  for (uint32_t id = 2; id <= 16; ++id) ASSERT_EQ(Put(id, id - 1), Code::kOk);  // a chain, the root used least recently
  ASSERT_EQ(Put(100), Code::kOk);
  ASSERT_EQ(Put(101), Code::kOk);
  EXPECT_EQ(Fetch(16), Code::kNotFound);
  EXPECT_EQ(Fetch(15), Code::kNotFound);
  EXPECT_EQ(Match({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}).blocks, 14);
}

TEST_F(LocalKvStoreTest, ChainLongerThanTheStoreKeepsItsBeginning) {
  ASSERT_EQ(Put(1), Code::kOk);
  for (uint32_t id = 2; id <= 16; ++id) ASSERT_EQ(Put(id, id - 1), Code::kOk);
  for (uint32_t id = 17; id <= 20; ++id) EXPECT_EQ(Put(id, id - 1), Code::kResourceExhausted) << id;
  EXPECT_EQ(Match({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}).blocks, 16);
}

TEST_F(LocalKvStoreTest, BlockWithoutItsParentTakesFreeRoomOnly) {
  for (uint32_t id = 1; id <= 15; ++id) ASSERT_EQ(Put(id), Code::kOk);
  EXPECT_EQ(Put(50, /*parent=*/49), Code::kOk);
  EXPECT_EQ(Put(60, /*parent=*/59), Code::kResourceExhausted);
  EXPECT_EQ(Put(70), Code::kOk);
}

TEST_F(LocalKvStoreTest, MadeUpCycleOfParentsIsEvictable) {
  ASSERT_EQ(Put(1, 2), Code::kOk);
  ASSERT_EQ(Put(2, 1), Code::kOk);
  ASSERT_EQ(Put(3, 3), Code::kOk);
  for (uint32_t id = 10; id < 26; ++id) EXPECT_EQ(Put(id), Code::kOk) << id;
  for (uint32_t id = 1; id <= 3; ++id) EXPECT_EQ(Fetch(id), Code::kNotFound) << id;
}

TEST_F(LocalKvStoreTest, MatchStopsAtTheFirstMissingBlock) {
  for (uint32_t id : {1, 2, 4}) ASSERT_EQ(Put(id), Code::kOk);
  const PrefixMatch match = Match({1, 2, 3, 4});
  EXPECT_EQ(match.blocks, 2);
  EXPECT_NE(match.lease, 0u);
  EXPECT_EQ(Match({3, 1}).blocks, 0);
  EXPECT_EQ(Match({3, 1}).lease, 0u);
  EXPECT_EQ(Match({}).blocks, 0);
  EXPECT_EQ(Stats().leases, 1u);
}

TEST_F(LocalKvStoreTest, LeasedBlocksOutliveEveryPut) {
  for (uint32_t id = 1; id <= 15; ++id) ASSERT_EQ(Put(id), Code::kOk);
  const PrefixMatch match = Match({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
  for (uint32_t id = 100; id < 120; ++id) EXPECT_EQ(Put(id), Code::kOk) << "through the one free place";
  for (uint32_t id = 1; id <= 15; ++id) EXPECT_EQ(Fetch(id, match.lease), Code::kOk);
}

TEST_F(LocalKvStoreTest, RefusesPutsWhenAllIsLeasedAndSaysWhatHelps) {
  for (uint32_t id = 1; id <= 16; ++id) ASSERT_EQ(Put(id), Code::kOk);
  const PrefixMatch match = Match({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
  const std::vector<std::byte> value = Bytes(17, kBlock);
  const absl::Status status = store_->Put({Item(Key(17), value)}, 0, kNoDeadline)->front();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("65536 of 65536"), HasSubstr("leased"), HasSubstr("--memory")));
  EXPECT_EQ(Stats().puts_refused, 1u);
  store_->Release(match.lease);
  EXPECT_EQ(Put(17), Code::kOk);
}

TEST_F(LocalKvStoreTest, RefusesBlockLargerThanTheStore) {
  ASSERT_EQ(Put(1), Code::kOk);
  EXPECT_EQ(Put(2, 0, 0, 65536), Code::kResourceExhausted);
  EXPECT_EQ(Fetch(1), Code::kOk) << "nothing was evicted in vain";
}

TEST_F(LocalKvStoreTest, LeaseEndsAfterItsTimeToLive) {
  for (uint32_t id = 1; id <= 16; ++id) ASSERT_EQ(Put(id), Code::kOk);
  const PrefixMatch match = Match({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
  clock_.Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  EXPECT_EQ(Put(17), Code::kResourceExhausted);
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(store_->Renew(match.lease, kNoDeadline).code(), Code::kNotFound);
  EXPECT_EQ(Put(17), Code::kOk);
  EXPECT_EQ(Stats().leases, 0u);
}

TEST_F(LocalKvStoreTest, RenewExtendsALease) {
  for (uint32_t id = 1; id <= 16; ++id) ASSERT_EQ(Put(id), Code::kOk);
  const PrefixMatch match = Match({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(absl::Seconds(9));
    ASSERT_TRUE(store_->Renew(match.lease, kNoDeadline).ok());
  }
  EXPECT_EQ(Put(17), Code::kResourceExhausted);
}

TEST_F(LocalKvStoreTest, TwoLeasesOfABlockMustBothEnd) {
  for (uint32_t id = 1; id <= 16; ++id) ASSERT_EQ(Put(id), Code::kOk);
  const PrefixMatch a = Match({1}), b = Match({1});
  store_->Release(a.lease);
  store_->Release(a.lease);  // giving it back twice changes nothing
  for (uint32_t id = 20; id < 40; ++id) ASSERT_EQ(Put(id), Code::kOk);
  EXPECT_EQ(Fetch(1), Code::kOk);
  store_->Release(b.lease);
  for (uint32_t id = 40; id < 60; ++id) ASSERT_EQ(Put(id), Code::kOk);
  EXPECT_EQ(Fetch(1), Code::kNotFound);
}

TEST_F(LocalKvStoreTest, PrivateBlocksBelongToTheirLeaseAlone) {
  const LeaseId mine = OpenPrivate(), other = OpenPrivate();
  ASSERT_EQ(Put(1, 0, mine), Code::kOk);
  EXPECT_EQ(Fetch(1, mine), Code::kOk);
  EXPECT_EQ(Fetch(1, other), Code::kNotFound);
  EXPECT_EQ(Fetch(1, 0), Code::kNotFound);
  EXPECT_EQ(Match({1}).blocks, 0);
}

TEST_F(LocalKvStoreTest, PrivateBlocksDieWithTheRelease) {
  const LeaseId lease = OpenPrivate();
  for (uint32_t id = 1; id <= 3; ++id) ASSERT_EQ(Put(id, 0, lease), Code::kOk);
  store_->Release(lease);
  EXPECT_EQ(Fetch(1, lease), Code::kNotFound);
  EXPECT_EQ(Stats().bytes_used, 0u);
  EXPECT_EQ(Stats().blocks, 0u);
  EXPECT_EQ(Put(1, 0, lease), Code::kNotFound);
}

TEST_F(LocalKvStoreTest, PrivateBlocksDieWhenTheLeaseRunsOut) {
  const LeaseId lease = OpenPrivate();
  ASSERT_EQ(Put(1, 0, lease), Code::kOk);
  clock_.Advance(absl::Seconds(10));
  EXPECT_EQ(Fetch(1, lease), Code::kNotFound);
  EXPECT_EQ(Stats().bytes_used, 0u);
}

TEST_F(LocalKvStoreTest, PrivateValueFinishedAfterItsLeaseEndedIsDropped) {
  const LeaseId lease = OpenPrivate();
  auto pending = store_->Reserve({.key = Key(1), .bytes = 100}, lease);
  ASSERT_TRUE(pending->Append(Bytes(1, 100)).ok());
  store_->Release(lease);
  EXPECT_EQ(store_->Publish(*std::move(pending)).code(), Code::kNotFound);
  EXPECT_EQ(Stats().blocks, 0u);
  EXPECT_EQ(Stats().bytes_used, 0u);
}

TEST_F(LocalKvStoreTest, PrivateBlocksAreNotEvicted) {
  const LeaseId lease = OpenPrivate();
  for (uint32_t id = 1; id <= 15; ++id) ASSERT_EQ(Put(id, 0, lease), Code::kOk);
  for (uint32_t id = 20; id < 30; ++id) ASSERT_EQ(Put(id), Code::kOk);
  for (uint32_t id = 1; id <= 15; ++id) EXPECT_EQ(Fetch(id, lease), Code::kOk);
}

TEST_F(LocalKvStoreTest, PrivatePutsNeedAPrivateLease) {
  ASSERT_EQ(Put(1), Code::kOk);
  EXPECT_EQ(Put(2, 0, Match({1}).lease), Code::kInvalidArgument);
  EXPECT_EQ(Put(2, 0, /*lease=*/12345), Code::kNotFound);
}

TEST_F(LocalKvStoreTest, ReaderKeepsItsBytesWhenTheBlockGoes) {
  ASSERT_EQ(Put(1), Code::kOk);
  auto range = store_->Read(Key(1), 0, kBlock, 0);
  ASSERT_TRUE(range.ok());
  for (uint32_t id = 20; id < 60; ++id) ASSERT_EQ(Put(id), Code::kOk);
  EXPECT_EQ(Fetch(1), Code::kNotFound);
  EXPECT_EQ(range->bytes, absl::MakeConstSpan(Bytes(1, kBlock)));
  EXPECT_LE(Stats().bytes_used, Stats().bytes_limit) << "what a reader holds still counts";
  EXPECT_EQ(Stats().blocks, 15u);
}

TEST_F(LocalKvStoreTest, CorruptedBlockIsDataLossOnceAndThenAMiss) {
  ASSERT_EQ(Put(1), Code::kOk);
  {
    const ValueRange range = store_->Read(Key(1), 0, kBlock, 0).value();
    const_cast<std::byte&>(range.bytes[100]) ^= std::byte{4};
  }
  std::vector<std::byte> got(10);
  const auto statuses = store_->Fetch({Into(Key(1), got)}, 0, kNoDeadline);
  EXPECT_EQ(statuses->front().code(), Code::kDataLoss);
  EXPECT_EQ(Fetch(1), Code::kNotFound);
  EXPECT_EQ(Stats().bytes_used, 0u);
  EXPECT_EQ(metrics_.Value(metric::kKvCorruptBlocks), 1);
  EXPECT_EQ(Put(1), Code::kOk);
  EXPECT_EQ(Fetch(1), Code::kOk);
}

TEST_F(LocalKvStoreTest, LeaseOfADroppedBlockDoesNotUnpinItsSuccessor) {
  for (uint32_t id = 1; id <= 16; ++id) ASSERT_EQ(Put(id), Code::kOk);
  const PrefixMatch before = Match({1});
  const_cast<std::byte&>(store_->Read(Key(1), 0, 1, 0)->bytes[0]) ^= std::byte{1};
  ASSERT_EQ(Fetch(1), Code::kDataLoss);
  ASSERT_EQ(Put(1), Code::kOk);
  const PrefixMatch after = Match({1});
  store_->Release(before.lease);
  for (uint32_t id = 20; id < 40; ++id) ASSERT_EQ(Put(id), Code::kOk);
  EXPECT_EQ(Fetch(1, after.lease), Code::kOk);
}

TEST_F(LocalKvStoreTest, DeleteTakesIdleChainsAndSparesWhatIsInUse) {
  ASSERT_EQ(Put(1), Code::kOk);
  ASSERT_EQ(Put(2, 1), Code::kOk);
  ASSERT_EQ(Put(3, 2), Code::kOk);
  const PrefixMatch match = Match({1, 2});
  const std::vector<absl::Status> statuses = store_->Delete({Key(1), Key(2), Key(3), Key(4)});
  EXPECT_EQ(statuses[0].code(), Code::kFailedPrecondition);
  EXPECT_THAT(std::string(statuses[0].message()), HasSubstr("1 leases, 1 blocks"));
  EXPECT_EQ(statuses[1].code(), Code::kFailedPrecondition);
  EXPECT_EQ(statuses[2].code(), Code::kOk);
  EXPECT_EQ(statuses[3].code(), Code::kNotFound);
  store_->Release(match.lease);
  for (const absl::Status& status : store_->Delete({Key(1), Key(2)})) EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(Stats().bytes_used, 0u);
}

TEST_F(LocalKvStoreTest, PassedDeadlineIsNamed) {
  const absl::Time past = clock_.Now();
  std::vector<std::byte> got(1);
  const std::vector<std::byte> value = Bytes(1, 1);
  EXPECT_EQ(store_->MatchPrefix({Key(1)}, past).status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(store_->OpenPrivate(past).status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(store_->Put({Item(Key(1), value)}, 0, past).status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(store_->Fetch({Into(Key(1), got)}, 0, past).status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(store_->Renew(1, past).code(), Code::kDeadlineExceeded);
  EXPECT_EQ(store_->Stats(past).status().code(), Code::kDeadlineExceeded);
}

TEST_F(LocalKvStoreTest, BoundsItsLeases) {
  Restart({.memory_bytes = 64 * 1024, .max_leases = 2, .max_leased_blocks = 3});
  for (uint32_t id = 1; id <= 4; ++id) ASSERT_EQ(Put(id), Code::kOk);
  const auto too_many = store_->MatchPrefix({Key(1), Key(2), Key(3), Key(4)}, kNoDeadline);
  EXPECT_EQ(too_many.status().code(), Code::kResourceExhausted);
  EXPECT_EQ(store_->Delete({Key(4)}).front().code(), Code::kOk) << "the refused lease pins nothing";
  Match({1, 2, 3});
  const LeaseId lease = OpenPrivate();
  EXPECT_EQ(Put(5, 0, lease), Code::kResourceExhausted);
  EXPECT_EQ(store_->OpenPrivate(kNoDeadline).status().code(), Code::kResourceExhausted);
}

TEST_F(LocalKvStoreTest, RefusesCallsPastItsLimits) {
  Restart({.memory_bytes = 64 * 1024, .limits = {.max_keys = 1, .max_items = 1}});
  std::vector<std::byte> got(1);
  EXPECT_EQ(store_->MatchPrefix({Key(1), Key(2)}, kNoDeadline).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->Fetch({Into(Key(1), got), Into(Key(2), got)}, 0, kNoDeadline).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(store_->Put({PutItem{.key = Key(1)}}, 0, kNoDeadline).status().code(), Code::kInvalidArgument);
}

TEST_F(LocalKvStoreTest, CountsWhatItDoes) {
  ASSERT_EQ(Put(1), Code::kOk);
  ASSERT_EQ(Fetch(1), Code::kOk);
  ASSERT_EQ(Fetch(2), Code::kNotFound);
  const PrefixMatch match = Match({1});
  const StoreStats stats = Stats();
  EXPECT_EQ(stats.bytes_limit, 65536u);
  EXPECT_EQ(stats.bytes_used, 4096u);
  EXPECT_EQ(stats.blocks, 1u);
  EXPECT_EQ(stats.leases, 1u);
  EXPECT_EQ(stats.hits, 1u);
  EXPECT_EQ(stats.misses, 1u);
  EXPECT_EQ(stats.puts, 1u);
  EXPECT_EQ(metrics_.Value(metric::kKvStoreBytes, {"used"}), 4096);
  EXPECT_EQ(metrics_.Value(metric::kKvStoreBytes, {"limit"}), 65536);
  EXPECT_EQ(metrics_.Value(metric::kKvLeases), 1);
  EXPECT_EQ(metrics_.Value(metric::kKvTransferBytes, {"put", "embedded"}), kBlock);
  EXPECT_EQ(metrics_.Value(metric::kKvTransferBytes, {"fetch", "embedded"}), kBlock);
  EXPECT_EQ(metrics_.Value(metric::kKvFetchHits), 1);
  EXPECT_EQ(metrics_.Value(metric::kKvFetchMisses), 1);
  EXPECT_EQ(metrics_.Value(metric::kKvPuts), 1);
  store_->Release(match.lease);
  EXPECT_EQ(metrics_.Value(metric::kKvLeases), 0);
}

TEST(LocalKvStoreOptions, RefusesMemoryAndTtlOutOfRange) {
  const FakeClock clock;
  const auto small = LocalKvStore::Create({.memory_bytes = 1000}, clock, nullptr);
  EXPECT_EQ(small.status().code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(small.status().message()), AllOf(HasSubstr("1000"), HasSubstr("--memory")));
  EXPECT_EQ(LocalKvStore::Create({.lease_ttl = absl::ZeroDuration()}, clock, nullptr).status().code(),
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace slimfill::kvstore
