#include "kvstore/client/faulty_kv_store.h"

#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/core/local_store.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;
using Kind = Fault::Kind;
using Operation = FaultyKvStore::Operation;
using ::testing::Contains;
using ::testing::Each;

class FaultyKvStoreTest : public ::testing::Test {
 protected:
  FaultyKvStoreTest() {
    for (uint32_t id : {1, 2}) {
      const std::vector<std::byte> value = Bytes(id, 10);
      EXPECT_TRUE(local_->Put({Item(Key(id), value)}, 0, Deadline())->front().ok());
    }
  }

  absl::Time Deadline() { return clock_.Now() + absl::Seconds(1); }
  absl::StatusOr<std::vector<absl::Status>> FetchBoth() {
    a_.assign(10, std::byte{0xEE});
    b_.assign(10, std::byte{0xEE});
    return store_.Fetch({Into(Key(1), a_), Into(Key(2), b_)}, 0, Deadline());
  }

  FakeClock clock_;
  std::unique_ptr<LocalKvStore> local_ =
      LocalKvStore::Create({.memory_bytes = 64 * 1024, .lease_ttl = absl::Seconds(10)}, clock_, nullptr).value();
  FaultyKvStore store_{*local_, clock_, [this](absl::Duration by) { clock_.Advance(by); }};
  std::vector<std::byte> a_, b_;
};

TEST_F(FaultyKvStoreTest, IsTransparentWithoutFaults) {
  EXPECT_THAT(*FetchBoth(), Each(absl::OkStatus()));
  EXPECT_EQ(a_, Bytes(1, 10));
  const PrefixMatch match = store_.MatchPrefix({Key(1), Key(2)}, Deadline()).value();
  EXPECT_EQ(match.blocks, 2);
  EXPECT_TRUE(store_.Renew(match.lease, Deadline()).ok());
  store_.Release(match.lease);
  EXPECT_EQ(store_.Stats(Deadline())->leases, 0u);
  EXPECT_TRUE(store_.OpenPrivate(Deadline()).ok());
  EXPECT_STREQ(store_.path(), "embedded");
  EXPECT_EQ(store_.injected(), 0);
}

TEST_F(FaultyKvStoreTest, ScriptedFaultsComeInOrderAndEnd) {
  store_.Script(Operation::kFetch, {.kind = Kind::kError, .code = Code::kUnavailable}, 2);
  store_.Script(Operation::kFetch, {.kind = Kind::kError, .code = Code::kInternal});
  EXPECT_EQ(FetchBoth().status().code(), Code::kUnavailable);
  EXPECT_EQ(FetchBoth().status().code(), Code::kUnavailable);
  EXPECT_TRUE(store_.Stats(Deadline()).ok()) << "other operations go on";
  EXPECT_EQ(FetchBoth().status().code(), Code::kInternal);
  EXPECT_TRUE(FetchBoth().ok());
  EXPECT_EQ(store_.injected(), 3);
}

TEST_F(FaultyKvStoreTest, HangUsesAllTheTime) {
  store_.Script(Operation::kFetch, {.kind = Kind::kHang});
  EXPECT_EQ(FetchBoth().status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(clock_.Now(), absl::UnixEpoch() + absl::Seconds(1));
}

TEST_F(FaultyKvStoreTest, SlowCallsSucceedWhileThereIsTime) {
  store_.Script(Operation::kFetch, {.kind = Kind::kSlow, .delay = absl::Milliseconds(999)});
  store_.Script(Operation::kFetch, {.kind = Kind::kSlow, .delay = absl::Milliseconds(1000)});
  EXPECT_TRUE(FetchBoth().ok());
  EXPECT_EQ(FetchBoth().status().code(), Code::kDeadlineExceeded);
}

TEST_F(FaultyKvStoreTest, MissFindsNothing) {
  store_.Script(Operation::kFetch, {.kind = Kind::kMiss});
  store_.Script(Operation::kMatchPrefix, {.kind = Kind::kMiss});
  EXPECT_EQ(FetchBoth()->at(1).code(), Code::kNotFound);
  EXPECT_THAT(a_, Each(std::byte{0xEE}));
  EXPECT_EQ(store_.MatchPrefix({Key(1)}, Deadline())->blocks, 0);
}

TEST_F(FaultyKvStoreTest, BitFlipLosesOneItemAndLeavesItUntouched) {
  store_.Script(Operation::kFetch, {.kind = Kind::kBitFlip});
  const std::vector<absl::Status> statuses = FetchBoth().value();
  const bool first = !statuses[0].ok();
  EXPECT_EQ(statuses[first ? 0 : 1].code(), Code::kDataLoss);
  EXPECT_TRUE(statuses[first ? 1 : 0].ok());
  EXPECT_THAT(first ? a_ : b_, Each(std::byte{0xEE}));
  EXPECT_EQ(first ? b_ : a_, Bytes(first ? 2 : 1, 10));
}

TEST_F(FaultyKvStoreTest, LostPutSaysOk) {
  store_.Script(Operation::kPut, {.kind = Kind::kLostPut});
  const std::vector<std::byte> value = Bytes(3, 10);
  EXPECT_TRUE(store_.Put({Item(Key(3), value)}, 0, Deadline())->front().ok());
  EXPECT_EQ(local_->Stats(Deadline())->blocks, 2u);
}

TEST_F(FaultyKvStoreTest, FailedReleaseLeavesTheLeaseToRunOut) {
  const PrefixMatch match = store_.MatchPrefix({Key(1)}, Deadline()).value();
  store_.Script(Operation::kRelease, {.kind = Kind::kError});
  store_.Release(match.lease);
  EXPECT_EQ(local_->Stats(Deadline())->leases, 1u);
}

TEST_F(FaultyKvStoreTest, RandomFaultsFollowTheirSeedUntilHealed) {
  const auto run = [this] {
    store_.Randomize(5, 0.5, {{.kind = Kind::kError}, {.kind = Kind::kMiss}});
    std::vector<bool> outcomes;
    for (int i = 0; i < 50; ++i) {
      const auto statuses = FetchBoth();
      outcomes.push_back(statuses.ok() && statuses->front().ok());
    }
    return outcomes;
  };
  const std::vector<bool> first = run();
  EXPECT_EQ(run(), first);
  EXPECT_THAT(first, Contains(true));
  EXPECT_THAT(first, Contains(false));
  store_.Heal();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(FetchBoth()->front().ok());
}

}  // namespace
}  // namespace slimfill::kvstore
