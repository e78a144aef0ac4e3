// One real server without cluster mode: what it keeps, refuses and forgets.
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/l2/chunk_command.h"
#include "kvstore/l2/redis_cluster.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/l2/redis_servers.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;

class RedisSingleTest : public ::testing::Test {
 protected:
  void Start(const std::vector<std::string>& settings = {}) { server_ = std::make_unique<RedisServer>(settings); }

  RedisOptions Options() {
    RedisOptions options;
    options.address.seeds = {server_->address()};
    return options;
  }
  void Connect(const RedisOptions& options) { l2_ = RedisCluster::Create(options, clock_, &metrics_).value(); }

  absl::Time Deadline() { return clock_.Now() + absl::Seconds(30); }

  absl::Status Put(uint32_t id, size_t bytes = 1000) {
    const std::vector<std::byte> value = Bytes(id, bytes);
    return l2_->Put({L2Write{Key(id), {}, 0, value}}, Deadline()).front();
  }
  // What is OK must be right.
  absl::Status Get(uint32_t id, size_t bytes = 1000) {
    const auto entry = l2_->Find({Key(id)}, Deadline()).front();
    if (!entry.ok()) return entry.status();
    std::vector<std::byte> value(entry->bytes);
    const absl::Status status = l2_->Get({L2Read{Key(id), *entry, absl::MakeSpan(value)}}, Deadline()).front();
    if (status.ok()) {
      EXPECT_TRUE(value == Bytes(id, bytes)) << "a wrong byte in block " << id;
    }
    return status;
  }

  FakeClock clock_;
  Metrics metrics_;
  std::unique_ptr<RedisServer> server_;
  std::unique_ptr<RedisCluster> l2_;
};

TEST_F(RedisSingleTest, WorksOverTcpAndUnixSockets) {
  Start();
  Connect(Options());
  EXPECT_EQ(Get(1).code(), Code::kNotFound);
  ASSERT_TRUE(Put(1, 3 * kChunkBytes).ok());
  EXPECT_TRUE(Get(1, 3 * kChunkBytes).ok());
  RedisOptions on_unix = Options();
  on_unix.address.seeds = {{.loopback = true, .unix_path = server_->unix_path()}};
  Connect(on_unix);
  EXPECT_TRUE(Get(1, 3 * kChunkBytes).ok());
  ASSERT_TRUE(Put(2).ok());
  EXPECT_TRUE(Get(2).ok());
}

TEST_F(RedisSingleTest, ChunksFillRedisMemoryWithoutWaste) {
  Start();
  Connect(Options());
  constexpr int kValues = 64;
  const auto used = [&] {
    const std::string info = server_->Ask({"INFO", "memory"});
    return std::stod(info.substr(info.find("used_memory:") + 12));
  };
  ASSERT_TRUE(Put(1000).ok());  // buffers and tables
  const double before = used();
  for (uint32_t id = 1; id <= kValues; ++id) ASSERT_TRUE(Put(id, 4 * kChunkBytes).ok());
  EXPECT_LT((used() - before) / (kValues * 4.0 * kChunkBytes), 1.05);
}

TEST_F(RedisSingleTest, BlocksGoWhenTheirTimeIsOver) {
  Start();
  RedisOptions options = Options();
  options.ttl = absl::Seconds(100);
  Connect(options);
  ASSERT_TRUE(Put(1).ok());
  const int left = std::stoi(server_->Ask({"PTTL", ChunkName(Key(1), 0)}));
  EXPECT_GT(left, 0);
  EXPECT_LE(left, 100000);
  EXPECT_TRUE(Get(1).ok());
  EXPECT_EQ(server_->Ask({"PEXPIRE", ChunkName(Key(1), 0), "1"}), "1");
  server_->AskUntil({"EXISTS", ChunkName(Key(1), 0)}, "0");
  EXPECT_EQ(Get(1).code(), Code::kNotFound);
}

TEST_F(RedisSingleTest, AFullServerThatMayNotEvictRefusesAndIsCounted) {
  Start({"--maxmemory", "8mb", "--maxmemory-policy", "noeviction"});
  Connect(Options());
  absl::Status status;
  for (uint32_t id = 1; id <= 64 && status.ok(); ++id) status = Put(id, kChunkBytes);
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status;
  EXPECT_GE(metrics_.Value(metric::kKvL2Errors, {"put", "full"}), 1);
  EXPECT_TRUE(Get(1, kChunkBytes).ok()) << "what it has it still gives";
  EXPECT_EQ(metrics_.Value(metric::kKvL2Nodes, {"up"}), 1);
}

TEST_F(RedisSingleTest, AFullServerThatEvictsTakesEverythingAndForgetsSome) {
  Start({"--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lfu"});
  Connect(Options());
  constexpr uint32_t kValues = 64;
  for (uint32_t id = 1; id <= kValues; ++id) ASSERT_TRUE(Put(id, kChunkBytes).ok());
  uint32_t there = 0;
  for (uint32_t id = 1; id <= kValues; ++id) {
    const absl::Status status = Get(id, kChunkBytes);
    EXPECT_TRUE(status.ok() || absl::IsNotFound(status)) << status;
    there += status.ok() ? 1 : 0;
  }
  EXPECT_GT(there, 0u);
  EXPECT_LT(there, kValues);
}

TEST_F(RedisSingleTest, PasswordsAndUsersAreChecked) {
  Start({"--requirepass", "secret", "--user", "slimfill", "on", ">other", "~kv:*", "+get", "+getrange", "+set",
         "+cluster|slots"});
  RedisOptions options = Options();
  Connect(options);
  EXPECT_EQ(Put(1).code(), Code::kPermissionDenied) << "no password";
  options.password = "guess";
  Connect(options);
  EXPECT_EQ(Put(1).code(), Code::kPermissionDenied);
  EXPECT_GE(metrics_.Value(metric::kKvL2Errors, {"put", "denied"}), 2);
  options.password = "secret";
  Connect(options);
  EXPECT_TRUE(Put(1).ok());
  options.user = "slimfill";
  options.password = "other";
  Connect(options);
  EXPECT_TRUE(Put(2).ok()) << "docs/operations.md names these rights";
  EXPECT_TRUE(Get(1).ok());
  EXPECT_TRUE(Get(2).ok());
}

TEST_F(RedisSingleTest, OnlyTheRightKeyReadsAnEncryptedBlock) {
  Start();
  RedisOptions options = Options();
  options.key = SealKey{{1}};
  Connect(options);
  ASSERT_TRUE(Put(1).ok());
  EXPECT_TRUE(Get(1).ok());
  const std::string stored = server_->Ask({"GET", ChunkName(Key(1), 0)});
  const std::vector<std::byte> value = Bytes(1, 1000);
  EXPECT_EQ(stored.find(std::string(reinterpret_cast<const char*>(value.data()), 16)), std::string::npos);
  RedisOptions other = Options();
  other.key = SealKey{{2}};
  for (const RedisOptions& wrong : {other, Options()}) {
    Connect(wrong);
    EXPECT_EQ(Get(1).code(), Code::kNotFound);
  }
  EXPECT_EQ(metrics_.Value(metric::kKvL2Errors, {"find", "damaged"}), 0) << "another key is no damage";
}

TEST_F(RedisSingleTest, DamagedStringsAreMissesAndCounted) {
  Start();
  Connect(Options());
  const std::string name = ChunkName(Key(1), 0);
  const std::pair<std::vector<std::string>, Code> damages[] = {
      {{"SETRANGE", name, "500", "!"}, Code::kDataLoss},
      {{"APPEND", name, "!"}, Code::kDataLoss},
      {{"SET", name, "short"}, Code::kNotFound},
      {{"SETRANGE", name, "4", "!"}, Code::kNotFound},  // the version
      {{"DEL", name}, Code::kNotFound}};
  for (const auto& [command, code] : damages) {
    ASSERT_TRUE(Put(1).ok());
    server_->Ask(command);
    EXPECT_EQ(Get(1).code(), code) << command[0];
  }
  EXPECT_GE(metrics_.Value(metric::kKvL2Errors, {"get", "damaged"}), 2);
  ASSERT_TRUE(Put(1).ok());
  server_->Ask({"DEL", name});
  server_->Ask({"LPUSH", name, "a list"});
  EXPECT_EQ(Get(1).code(), Code::kUnknown);
}

TEST_F(RedisSingleTest, AServerThatRestartsIsEmptyAndWorksAgain) {
  Start();
  Connect(Options());
  ASSERT_TRUE(Put(1).ok());
  server_->Kill();
  EXPECT_EQ(Get(1).code(), Code::kUnavailable);
  server_->Restart();
  const absl::Time give_up = absl::Now() + absl::Minutes(2);
  absl::Status status;
  while (!absl::IsNotFound(status = Get(1)) && absl::Now() < give_up) {
    clock_.Advance(absl::Seconds(8));
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_TRUE(Put(1).ok());
  EXPECT_TRUE(Get(1).ok());
}

TEST_F(RedisSingleTest, AServerThatComesLaterIsFound) {
  Start();
  server_->Kill();
  Connect(Options());
  EXPECT_EQ(Put(1).code(), Code::kUnavailable);
  server_->Restart();
  const absl::Time give_up = absl::Now() + absl::Minutes(2);
  absl::Status status;
  while (!(status = Put(1)).ok() && absl::Now() < give_up) {
    clock_.Advance(absl::Seconds(8));
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(RedisSingleTest, ManyThreadsShareIt) {
  Start();
  Connect(Options());
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < 30; ++i) {
        const uint32_t id = 1 + (t * 31 + i * 7) % 40;
        const size_t bytes = kChunkBytes / 2 + id * kChunkBytes / 40;
        EXPECT_TRUE(Put(id, bytes).ok());
        const absl::Status status = Get(id, bytes);
        // Between Find and Get another thread may have written it anew.
        EXPECT_TRUE(status.ok() || absl::IsDataLoss(status)) << status;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace slimfill::kvstore
