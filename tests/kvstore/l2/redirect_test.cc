// Redirects and failures, with servers that say what no real one would say on demand.
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/l2/redis_cluster.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/l2/fake_redis.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

class RedirectTest : public ::testing::Test {
 protected:
  // A cluster whose slots all belong to `first`, as every node says.
  void Connect(const FakeRedis& first) {
    RedisOptions options;
    options.address.seeds = {first.address()};
    l2_ = RedisCluster::Create(options, clock_, &metrics_).value();
  }

  absl::Status Put(uint32_t id = 1) {
    const std::vector<std::byte> value = Bytes(id, 100);
    return l2_->Put({{Key(id), {}, 0, value}}, Deadline()).front();
  }

  absl::Time Deadline() { return clock_.Now() + absl::Minutes(1); }

  FakeClock clock_;
  Metrics metrics_;
  std::unique_ptr<RedisCluster> l2_;
};

// Follows the script, and says that all slots are `owner`'s.
FakeRedis::Script Node(const ListenAddress* owner, FakeRedis::Script script) {
  return [owner, script](const FakeRedis::Words& words) {
    return words[0] == "CLUSTER" ? AllSlotsOf(*owner) : script(words);
  };
}

TEST_F(RedirectTest, FollowsMoved) {
  ListenAddress owner;
  FakeRedis second(Node(&owner, [](const auto&) { return "+OK\r\n"; }));
  FakeRedis first(Node(&owner, [&](const auto&) { return absl::StrCat("-MOVED 7 ", second.name(), "\r\n"); }));
  owner = first.address();
  Connect(first);
  EXPECT_TRUE(Put().ok());
  EXPECT_THAT(second.commands(), ElementsAre(StartsWith("SET kv:{c001000000")));
}

TEST_F(RedirectTest, AMoveWithoutAHostStaysOnTheSameMachine) {
  ListenAddress owner;
  FakeRedis second(Node(&owner, [](const auto&) { return "+OK\r\n"; }));
  FakeRedis first(Node(&owner, [&](const auto&) { return absl::StrCat("-MOVED 7 :", second.address().port, "\r\n"); }));
  owner = first.address();
  Connect(first);
  EXPECT_TRUE(Put().ok());
}

TEST_F(RedirectTest, AsksFirstWhereASlotIsOnItsWay) {
  ListenAddress owner;
  FakeRedis second(Node(&owner, [](const auto&) { return "+OK\r\n"; }));
  FakeRedis first(Node(&owner, [&](const auto&) { return absl::StrCat("-ASK 7 ", second.name(), "\r\n"); }));
  owner = first.address();
  Connect(first);
  EXPECT_TRUE(Put(1).ok());
  EXPECT_TRUE(Put(2).ok());
  EXPECT_THAT(first.commands(), SizeIs(2)) << "the slot is still the first one's";
  EXPECT_THAT(second.commands(), ElementsAre("ASKING", StartsWith("SET"), "ASKING", StartsWith("SET")));
}

TEST_F(RedirectTest, ManyCommandsKeepTheirAnswersThroughAsk) {
  ListenAddress owner;
  FakeRedis second(
      Node(&owner, [](const auto& words) { return words[0] == "ASKING" ? std::string("+OK\r\n") : BulkReply(""); }));
  FakeRedis first(Node(&owner, [&](const auto& words) {
    const bool odd = absl::StrContains(words[1], "01000000") || absl::StrContains(words[1], "03000000");
    return odd ? absl::StrCat("-ASK 7 ", second.name(), "\r\n") : std::string("-ERR strange\r\n");
  }));
  owner = first.address();
  Connect(first);
  const auto entries = l2_->Find({Key(1), Key(2), Key(3), Key(4)}, Deadline());
  EXPECT_EQ(entries[0].status().code(), Code::kNotFound);
  EXPECT_EQ(entries[1].status().code(), Code::kUnknown);
  EXPECT_EQ(entries[2].status().code(), Code::kNotFound);
  EXPECT_EQ(entries[3].status().code(), Code::kUnknown);
}

TEST_F(RedirectTest, GivesUpOnNodesThatPointAtEachOther) {
  ListenAddress owner;
  std::string first_name;
  FakeRedis second(Node(&owner, [&](const auto&) { return absl::StrCat("-MOVED 7 ", first_name, "\r\n"); }));
  FakeRedis first(Node(&owner, [&](const auto&) { return absl::StrCat("-MOVED 7 ", second.name(), "\r\n"); }));
  owner = first.address();
  first_name = first.name();
  Connect(first);
  const absl::Status status = Put();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than 5 times"));
  EXPECT_EQ(first.commands().size() + second.commands().size(), 6u);
}

TEST_F(RedirectTest, ErrorsAreToldApart) {
  ListenAddress owner;
  std::string error;
  FakeRedis server(Node(&owner, [&](const auto&) { return absl::StrCat("-", error, "\r\n"); }));
  owner = server.address();
  Connect(server);
  const std::pair<const char*, Code> errors[] = {
      {"OOM command not allowed when used memory > 'maxmemory'.", Code::kResourceExhausted},
      {"NOPERM this user has no permissions", Code::kPermissionDenied},
      {"CLUSTERDOWN Hash slot not served", Code::kUnavailable},
      {"LOADING Redis is loading the dataset in memory", Code::kUnavailable},
      {"READONLY You can't write against a read only replica.", Code::kUnavailable},
      {"MOVED nonsense", Code::kUnavailable},
      {"MOVED", Code::kUnknown},
      {"WRONGTYPE Operation against a key", Code::kUnknown}};
  for (const auto& [text, code] : errors) {
    error = text;
    EXPECT_EQ(Put().code(), code) << text;
  }
  EXPECT_EQ(metrics_.Value(metric::kKvL2Errors, {"put", "full"}), 1);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Errors, {"put", "denied"}), 1);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Errors, {"put", "unreachable"}), 4);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Errors, {"put", "other"}), 2);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Nodes, {"up"}), 1) << "the node answers";
}

TEST_F(RedirectTest, ARejectedPasswordFailsTheCommandsBehindIt) {
  ListenAddress owner;
  FakeRedis server([&](const FakeRedis::Words& words) {
    if (words[0] == "AUTH") return std::string("-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    return words[0] == "CLUSTER" ? std::string("-NOAUTH Authentication required.\r\n") : std::string("+OK\r\n");
  });
  RedisOptions options;
  options.address.seeds = {server.address()};
  options.user = "slimfill";
  options.password = "guess";
  l2_ = RedisCluster::Create(options, clock_, &metrics_).value();
  EXPECT_EQ(Put().code(), Code::kPermissionDenied);
  EXPECT_THAT(server.commands(), Contains("AUTH slimfill guess"));
}

TEST_F(RedirectTest, ANodeThatStaysSilentCostsTheDeadlineThreeTimesThenNothing) {
  ListenAddress owner;
  absl::Notification end;
  FakeRedis server(Node(&owner, [&](const auto&) {
    end.WaitForNotification();
    return "";
  }));
  owner = server.address();
  Connect(server);
  ASSERT_THAT(l2_->Find({}, Deadline()), IsEmpty());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(l2_->Find({Key(1)}, clock_.Now() + absl::Milliseconds(200)).front().status().code(),
              Code::kDeadlineExceeded);
  }
  const absl::Status status = l2_->Find({Key(1)}, absl::InfiniteFuture()).front().status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("left alone"));
  EXPECT_EQ(metrics_.Value(metric::kKvL2Nodes, {"down"}), 1);
  end.Notify();
}

TEST_F(RedirectTest, AWrongStringInTheAnswerIsDataLossAndTheNextOneIsRead) {
  ListenAddress owner;
  FakeRedis server(Node(&owner, [](const auto& words) {
    return absl::StrContains(words[1], "01000000") ? BulkReply("too short") : std::string("$-1\r\n");
  }));
  owner = server.address();
  Connect(server);
  std::vector<std::byte> one(100), two(100);
  const auto statuses = l2_->Get(
      {{Key(1), {.bytes = 100}, absl::MakeSpan(one)}, {Key(2), {.bytes = 100}, absl::MakeSpan(two)}}, Deadline());
  EXPECT_EQ(statuses[0].code(), Code::kDataLoss);
  EXPECT_EQ(statuses[1].code(), Code::kNotFound);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Errors, {"get", "damaged"}), 1);
}

TEST_F(RedirectTest, NothingListensAtAll) {
  ListenAddress gone;
  {
    FakeRedis server([](const auto&) { return ""; });
    gone = server.address();
  }
  RedisOptions options;
  options.address.seeds = {gone};
  l2_ = RedisCluster::Create(options, clock_, &metrics_).value();
  EXPECT_EQ(Put().code(), Code::kUnavailable);
  EXPECT_EQ(l2_->Find({Key(1)}, absl::InfiniteFuture()).front().status().code(), Code::kUnavailable);
  EXPECT_EQ(metrics_.Value(metric::kKvL2Nodes, {"down"}), 1);
}

}  // namespace
}  // namespace slimfill::kvstore
