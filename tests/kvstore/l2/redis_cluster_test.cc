// Three real masters: moves of slots, lost and hung nodes.
#include "kvstore/l2/redis_cluster.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/l2/chunk_command.h"
#include "kvstore/l2/hash_slot.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/l2/redis_servers.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;

constexpr uint32_t kBlocks = 24;
constexpr size_t kBlockBytes = 2 * kChunkBytes + 1000;

int SlotOf(uint32_t id) { return HashSlot(ChunkName(Key(id), 0)); }

class RedisClusterTest : public ::testing::Test {
 protected:
  RedisClusterTest() { l2_ = Connect(); }

  std::unique_ptr<RedisCluster> Connect() {
    RedisOptions options;
    options.address = cluster_.address();
    options.key = SealKey{{1, 2, 3}};
    return RedisCluster::Create(options, clock_, &metrics_).value();
  }

  absl::Time Deadline(absl::Duration in = absl::Seconds(30)) { return clock_.Now() + in; }

  std::vector<absl::Status> PutAll() {
    std::vector<std::vector<std::byte>> values;
    std::vector<L2Write> writes;
    for (uint32_t id = 1; id <= kBlocks; ++id) values.push_back(Bytes(id, kBlockBytes));
    for (uint32_t id = 1; id <= kBlocks; ++id) writes.push_back({Key(id), Key(id - 1), 7, values[id - 1]});
    return l2_->Put(writes, Deadline());
  }

  // Finds and reads every block. What is OK must be right; returns the statuses.
  std::vector<absl::Status> GetAll(absl::Duration time = absl::Seconds(30)) {
    std::vector<BlockKey> keys;
    for (uint32_t id = 1; id <= kBlocks; ++id) keys.push_back(Key(id));
    const auto entries = l2_->Find(keys, Deadline(time));
    std::vector<absl::Status> statuses(kBlocks);
    std::vector<std::vector<std::byte>> values;
    std::vector<L2Read> reads;
    values.reserve(kBlocks);
    for (uint32_t i = 0; i < kBlocks; ++i) {
      statuses[i] = entries[i].status();
      if (!entries[i].ok()) continue;
      EXPECT_EQ(entries[i]->bytes, kBlockBytes);
      EXPECT_EQ(entries[i]->parent, Key(i));
      EXPECT_EQ(entries[i]->tenant, 7u);
      reads.push_back({keys[i], *entries[i], absl::MakeSpan(values.emplace_back(kBlockBytes))});
    }
    const auto got = l2_->Get(reads, Deadline(time));
    for (size_t r = 0; r < reads.size(); ++r) {
      const uint32_t id = reads[r].key.bytes[1];
      statuses[id - 1] = got[r];
      if (got[r].ok()) {
        EXPECT_TRUE(values[r] == Bytes(id, kBlockBytes)) << "a wrong byte in block " << id;
      }
    }
    return statuses;
  }

  static size_t CountOk(const std::vector<absl::Status>& statuses) {
    return std::count(statuses.begin(), statuses.end(), absl::OkStatus());
  }

  // Only blocks of this master fail, all of them with `code`.
  void ExpectOnlyBlocksOf(int master, Code code, const std::vector<absl::Status>& statuses) {
    for (uint32_t id = 1; id <= kBlocks; ++id) {
      EXPECT_EQ(statuses[id - 1].code(), cluster_.OwnerOf(SlotOf(id)) == master ? code : Code::kOk)
          << id << ": " << statuses[id - 1];
    }
  }

  // Reads until every block is there again; breakers see time pass.
  void AwaitHealth() {
    const absl::Time give_up = absl::Now() + absl::Minutes(2);
    while (CountOk(PutAll()) < kBlocks) {
      ASSERT_LT(absl::Now(), give_up);
      clock_.Advance(absl::Seconds(8));
      absl::SleepFor(absl::Milliseconds(20));
    }
    EXPECT_EQ(CountOk(GetAll()), kBlocks);
  }

  // Moves a slot to another master; `between` runs while it is on its way.
  template <typename Between>
  void MoveSlot(int slot, int to, Between between) {
    const int from = cluster_.OwnerOf(slot);
    RedisServer &source = cluster_.master(from), &target = cluster_.master(to);
    const std::string number = absl::StrCat(slot), source_id = cluster_.IdOf(from), target_id = cluster_.IdOf(to);
    EXPECT_EQ(target.Ask({"CLUSTER", "SETSLOT", number, "IMPORTING", source_id}), "OK");
    EXPECT_EQ(source.Ask({"CLUSTER", "SETSLOT", number, "MIGRATING", target_id}), "OK");
    const std::string first = source.Ask({"CLUSTER", "GETKEYSINSLOT", number, "1"});
    EXPECT_EQ(source.Ask({"MIGRATE", "127.0.0.1", absl::StrCat(target.port()), first, "0", "60000"}), "OK");
    between();
    for (std::string key; !(key = source.Ask({"CLUSTER", "GETKEYSINSLOT", number, "1"})).empty();) {
      EXPECT_EQ(source.Ask({"MIGRATE", "127.0.0.1", absl::StrCat(target.port()), key, "0", "60000"}), "OK");
    }
    EXPECT_EQ(target.Ask({"CLUSTER", "SETSLOT", number, "NODE", target_id}), "OK");
    EXPECT_EQ(source.Ask({"CLUSTER", "SETSLOT", number, "NODE", target_id}), "OK");
  }

  FakeClock clock_;
  Metrics metrics_;
  RedisTestCluster cluster_;
  std::unique_ptr<RedisCluster> l2_;
};

TEST_F(RedisClusterTest, BlocksGoToAllMastersAndComeBack) {
  EXPECT_EQ(CountOk(GetAll()), 0u);
  ASSERT_EQ(CountOk(PutAll()), kBlocks);
  EXPECT_EQ(CountOk(GetAll()), kBlocks);
  int chunks = 0;
  for (int i = 0; i < 3; ++i) {
    const int of_master = std::stoi(cluster_.master(i).Ask({"DBSIZE"}));
    EXPECT_GT(of_master, 0) << "master " << i << " has no part of the work";
    chunks += of_master;
  }
  EXPECT_EQ(chunks, 3 * static_cast<int>(kBlocks));
  EXPECT_EQ(metrics_.Value(metric::kKvL2Nodes, {"up"}), 3);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Bytes, {"put"}), kBlocks * static_cast<double>(kBlockBytes));
  EXPECT_EQ(metrics_.Value(metric::kKvL2Bytes, {"get"}), kBlocks * static_cast<double>(kBlockBytes));
  EXPECT_EQ(CountOk(PutAll()), kBlocks) << "again: the new values take the old ones' place";
  EXPECT_EQ(CountOk(GetAll()), kBlocks);
}

TEST_F(RedisClusterTest, OurSlotsAreRedisOwn) {
  for (const char* key : {"a", "123456789", "x{tag}y", "x{}y", "{{tag}}", "kv:{c0ffee}:17", "kv:{c0ffee}:18"}) {
    EXPECT_EQ(absl::StrCat(HashSlot(key)), cluster_.master(0).Ask({"CLUSTER", "KEYSLOT", key})) << key;
  }
}

TEST_F(RedisClusterTest, ASlotThatMovesIsFollowed) {
  ASSERT_EQ(CountOk(PutAll()), kBlocks);
  const int slot = SlotOf(1), to = (cluster_.OwnerOf(slot) + 1) % 3;
  MoveSlot(slot, to, [&] {
    EXPECT_EQ(CountOk(GetAll()), kBlocks) << "ASK: a part of the block has moved";
    EXPECT_EQ(CountOk(PutAll()), kBlocks);
    EXPECT_EQ(CountOk(GetAll()), kBlocks);
  });
  EXPECT_EQ(CountOk(GetAll()), kBlocks) << "MOVED";
  EXPECT_EQ(CountOk(PutAll()), kBlocks);
  // The map is renewed behind the calls: afterwards nobody is redirected any more.
  const absl::Time give_up = absl::Now() + absl::Minutes(1);
  const auto redirects = [&] {
    std::string all;
    for (int i = 0; i < 3; ++i) all += cluster_.master(i).Ask({"INFO", "errorstats"});
    return all;
  };
  std::string before;
  do {
    ASSERT_LT(absl::Now(), give_up);
    absl::SleepFor(absl::Milliseconds(20));
    before = redirects();
    EXPECT_EQ(CountOk(GetAll()), kBlocks);
  } while (redirects() != before);
}

TEST_F(RedisClusterTest, AKilledNodeCostsItsOwnBlocksOnlyAndItsReturnHeals) {
  ASSERT_EQ(CountOk(PutAll()), kBlocks);
  cluster_.master(1).Kill();
  for (int i = 0; i < 6; ++i) ExpectOnlyBlocksOf(1, Code::kUnavailable, GetAll());
  EXPECT_EQ(metrics_.Value(metric::kKvL2Nodes, {"down"}), 1);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Nodes, {"up"}), 2);
  ExpectOnlyBlocksOf(1, Code::kUnavailable, PutAll());
  cluster_.master(1).Restart();
  AwaitHealth();
  EXPECT_EQ(metrics_.Value(metric::kKvL2Nodes, {"up"}), 3);
}

TEST_F(RedisClusterTest, AHungNodeCostsDeadlinesThenItsOwnBlocksOnly) {
  ASSERT_EQ(CountOk(PutAll()), kBlocks);
  cluster_.master(2).Suspend();
  // The breaker opens with the third: from then on even a call without a deadline comes back.
  for (int i = 0; i < 3; ++i) {
    for (const absl::Status& status : GetAll(absl::Seconds(2))) {
      EXPECT_TRUE(status.ok() || absl::IsDeadlineExceeded(status)) << status;
    }
  }
  ExpectOnlyBlocksOf(2, Code::kUnavailable, GetAll(absl::InfiniteDuration()));
  cluster_.master(2).Resume();
  AwaitHealth();
}

TEST_F(RedisClusterTest, ADeadlineThatHasPassedIsKept) {
  ASSERT_EQ(CountOk(PutAll()), kBlocks);
  for (const absl::Status& status : GetAll(-absl::Seconds(1))) EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
}

TEST_F(RedisClusterTest, ALostChunkIsAMissOfItsBlockOnly) {
  ASSERT_EQ(CountOk(PutAll()), kBlocks);
  const int owner = cluster_.OwnerOf(SlotOf(3));
  EXPECT_EQ(cluster_.master(owner).Ask({"DEL", ChunkName(Key(3), 1)}), "1");
  const auto statuses = GetAll();
  EXPECT_EQ(CountOk(statuses), kBlocks - 1);
  EXPECT_EQ(statuses[2].code(), Code::kNotFound);
}

TEST_F(RedisClusterTest, ChunksOfTwoWritesAreNotPutTogether) {
  ASSERT_EQ(CountOk(PutAll()), kBlocks);
  RedisServer& owner = cluster_.master(cluster_.OwnerOf(SlotOf(3)));
  const std::string name = ChunkName(Key(3), 1);
  const std::string first = owner.Ask({"GET", name});
  ASSERT_EQ(CountOk(PutAll()), kBlocks);
  EXPECT_EQ(owner.Ask({"SET", name, first}), "OK");
  EXPECT_EQ(GetAll()[2].code(), Code::kDataLoss);
  EXPECT_GE(metrics_.Value(metric::kKvL2Errors, {"get", "damaged"}), 1);
}

TEST_F(RedisClusterTest, AnotherClientFindsWhatThisOneHasWritten) {
  ASSERT_EQ(CountOk(PutAll()), kBlocks);
  l2_ = Connect();
  EXPECT_EQ(CountOk(GetAll()), kBlocks);
}

}  // namespace
}  // namespace slimfill::kvstore
