// The real program with a real L2 behind it: what one process has stored, the next one serves.
#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/client/grpc_kv_store.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/l2/redis_servers.h"

namespace slimfill::kvstore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint32_t kBlocks = 12;
constexpr size_t kBlockBytes = 700000;  // three chunks

class L2Program : public ::testing::Test {
 protected:
  L2Program() { WriteFile(KeyFile(), "000102030405060708090a0b0c0d0e0f\n"); }

  std::string KeyFile() const { return folder_.File("key"); }

  // A new process, and a client of it.
  void Start(const L2Address& l2, const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = {KVSTORE_PROGRAM, "--listen", "127.0.0.1:0",      "--memory",
                                        "256MiB",        "--l2",     FormatL2Address(l2)};
    command.insert(command.end(), more.begin(), more.end());
    program_ = std::make_unique<ChildProcess>(command);
    client_ = GrpcKvStore::Create(program_->ReadAfter("listening address="), {}, clock_, nullptr).value();
  }
  // Ends it as an operator would: it has time to write what it has queued.
  void Stop() {
    program_->Signal(SIGTERM);
    EXPECT_THAT(program_->ReadRest(), HasSubstr("stopped"));
    EXPECT_EQ(program_->Wait(), 0);
  }

  static std::vector<BlockKey> Chain() {
    std::vector<BlockKey> keys;
    for (uint32_t id = 1; id <= kBlocks; ++id) keys.push_back(Key(id));
    return keys;
  }
  absl::Time Deadline() { return clock_.Now() + absl::Seconds(60); }

  void PutAll() {
    for (uint32_t id = 1; id <= kBlocks; ++id) {
      const std::vector<std::byte> value = Bytes(id, kBlockBytes);
      const auto statuses = client_->Put({Item(Key(id), value, id == 1 ? BlockKey{} : Key(id - 1))}, 0, Deadline());
      ASSERT_TRUE(statuses.ok() && statuses->front().ok()) << id;
    }
  }

  // How many blocks the store serves; their bytes must be right.
  int64_t Serve() {
    const PrefixMatch match = client_->MatchPrefix(Chain(), Deadline()).value();
    for (uint32_t id = 1; id <= match.blocks; ++id) {
      std::vector<std::byte> got(kBlockBytes);
      EXPECT_TRUE(client_->Fetch({Into(Key(id), got)}, match.lease, Deadline())->front().ok());
      EXPECT_TRUE(got == Bytes(id, kBlockBytes)) << "a wrong byte in block " << id;
    }
    client_->Release(match.lease);
    return match.blocks;
  }

  SystemClock clock_;
  TempFolder folder_;
  std::unique_ptr<ChildProcess> program_;
  std::unique_ptr<GrpcKvStore> client_;
};

TEST_F(L2Program, AFreshStoreServesWhatAnotherHasWritten) {
  RedisTestCluster cluster;
  const std::vector<std::string> key = {"--l2-key-file", KeyFile()};
  Start(cluster.address(), key);
  PutAll();
  EXPECT_EQ(Serve(), kBlocks);  // the second touch
  Stop();
  Start(cluster.address(), key);
  EXPECT_EQ(Serve(), kBlocks);
  EXPECT_EQ(client_->Stats(Deadline())->puts, kBlocks) << "from the L2: nobody has put them into this process";
}

TEST_F(L2Program, BlocksThatNobodyAskedForAgainAreNotWritten) {
  RedisServer redis;
  Start({.seeds = {redis.address()}});
  PutAll();
  Stop();
  EXPECT_EQ(redis.Ask({"DBSIZE"}), "0");
  Start({.seeds = {redis.address()}});
  EXPECT_EQ(Serve(), 0);
}

TEST_F(L2Program, AnotherEncryptionKeyReadsNothingAndItsOwnEverything) {
  RedisServer redis;
  const L2Address address{.seeds = {{.loopback = true, .unix_path = redis.unix_path()}}};
  Start(address, {"--l2-key-file", KeyFile()});
  PutAll();
  EXPECT_EQ(Serve(), kBlocks);
  Stop();
  WriteFile(folder_.File("other"), "ffffffffffffffffffffffffffffffff");
  Start(address, {"--l2-key-file", folder_.File("other")});
  EXPECT_EQ(Serve(), 0);
  Start(address);
  EXPECT_EQ(Serve(), 0);
  Start(address, {"--l2-key-file", KeyFile()});
  EXPECT_EQ(Serve(), kBlocks);
}

TEST_F(L2Program, ADeadL2AtTheStartIsAWarningAndTheStoreServes) {
  RedisServer redis;
  redis.Kill();
  const std::string address = "unix:" + folder_.File("kv.sock");
  program_ = std::make_unique<ChildProcess>(std::vector<std::string>{KVSTORE_PROGRAM, "--listen", address, "--l2",
                                                                     FormatL2Address({.seeds = {redis.address()}})});
  EXPECT_NE(program_->ReadAfter("the L2 cannot be reached, its blocks count as misses address="), "");
  client_ = GrpcKvStore::Create(address, {}, clock_, nullptr).value();
  while (!client_->Stats(Deadline()).ok()) absl::SleepFor(absl::Milliseconds(20));  // until it listens
  PutAll();
  EXPECT_EQ(Serve(), kBlocks);
  Stop();
}

TEST_F(L2Program, AnL2ThatDiesAndComesBackIsUsedAgain) {
  RedisServer redis;
  Start({.seeds = {redis.address()}});
  PutAll();
  redis.Kill();
  EXPECT_EQ(Serve(), kBlocks) << "from memory";
  redis.Restart();
  // Further touches write what could not be written; then it is all there.
  const absl::Time give_up = absl::Now() + absl::Minutes(2);
  while (redis.Ask({"DBSIZE"}) != absl::StrCat(3 * kBlocks)) {
    ASSERT_LT(absl::Now(), give_up);
    EXPECT_EQ(Serve(), kBlocks);
    absl::SleepFor(absl::Milliseconds(50));
  }
  Stop();
  Start({.seeds = {redis.address()}});
  EXPECT_EQ(Serve(), kBlocks);
}

TEST_F(L2Program, WrongOptionsAreClearErrors) {
  ChildProcess program({KVSTORE_PROGRAM, "--l2", "redis://127.0.0.1:1", "--l2-key-file", folder_.File("missing")});
  EXPECT_THAT(program.ReadRest(), AllOf(HasSubstr("--l2-key-file"), HasSubstr("missing")));
  EXPECT_EQ(program.Wait(), 2);
}

}  // namespace
}  // namespace slimfill::kvstore
