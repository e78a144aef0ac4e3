#include "kvstore/l2/slot_map.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kvstore/l2/fake_redis.h"

namespace slimfill::kvstore {
namespace {

using ::testing::HasSubstr;

class SlotMapTest : public ::testing::Test {
 protected:
  // What a node's reply to CLUSTER SLOTS comes to.
  absl::StatusOr<SlotMap> MapOf(const std::string& reply) {
    FakeRedis server([&](const FakeRedis::Words&) { return reply; });
    server.set_piece_bytes(7);
    address_ = server.address();
    RedisNode node(server.address(), access_, {}, clock_, [](bool) {});
    return FetchSlotMap(node, absl::Now() + absl::Minutes(1));
  }

  RedisAccess access_;
  SystemClock clock_;
  ListenAddress address_;
};

std::string Range(int first, int last, const std::string& host, int port) {
  return absl::StrCat("*4\r\n:", first, "\r\n:", last, "\r\n*3\r\n", host, ":", port, "\r\n$2\r\nid\r\n",
                      "*3\r\n$7\r\nreplica\r\n:9\r\n$2\r\nid\r\n");
}

TEST_F(SlotMapTest, KnowsTheMasterOfEachSlot) {
  const std::string a = BulkReply("10.0.0.1"), b = BulkReply("fd00::2");
  const SlotMap map = MapOf("*3\r\n" + Range(0, 5, a, 1) + Range(6, 16380, b, 2) + Range(16383, 16383, a, 1)).value();
  ASSERT_EQ(map.masters.size(), 2u);
  EXPECT_EQ(FormatListenAddress(map.masters[map.owner[0]]), "10.0.0.1:1");
  EXPECT_EQ(FormatListenAddress(map.masters[map.owner[5]]), "10.0.0.1:1");
  EXPECT_EQ(FormatListenAddress(map.masters[map.owner[6]]), "[fd00::2]:2");
  EXPECT_EQ(FormatListenAddress(map.masters[map.owner[16380]]), "[fd00::2]:2");
  EXPECT_EQ(map.owner[16381], SlotMap::kNobody);
  EXPECT_EQ(FormatListenAddress(map.masters[map.owner[16383]]), "10.0.0.1:1");
}

TEST_F(SlotMapTest, ANodeThatDoesNotKnowItsOwnAddressIsTheOneWeAsked) {
  for (const std::string& host : {std::string("$-1\r\n"), BulkReply(""), BulkReply("?")}) {
    const SlotMap map = MapOf("*1\r\n" + Range(0, 16383, host, 77)).value();
    EXPECT_EQ(FormatListenAddress(map.masters[0]), "127.0.0.1:77");
  }
}

TEST_F(SlotMapTest, AServerWithoutClusterModeHasAllSlots) {
  const SlotMap map = MapOf("-ERR This instance has cluster support disabled\r\n").value();
  EXPECT_EQ(FormatListenAddress(map.masters.at(0)), FormatListenAddress(address_));
  EXPECT_EQ(map.owner[0], 0);
  EXPECT_EQ(map.owner[16383], 0);
}

TEST_F(SlotMapTest, RefusesNonsense) {
  const std::string host = BulkReply("10.0.0.1");
  for (const std::string& reply :
       {std::string("+OK\r\n"), std::string("*0\r\n"), std::string("*1\r\n:1\r\n"), "*1\r\n" + Range(0, 16384, host, 1),
        "*1\r\n" + Range(-1, 5, host, 1), "*1\r\n" + Range(5, 4, host, 1), "*1\r\n" + Range(0, 5, host, 0),
        "*1\r\n" + Range(0, 5, host, 65536), std::string("*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\nx\r\n"),
        std::string("HTTP/1.1 400 Bad Request\r\n\r\n")}) {
    EXPECT_EQ(MapOf(reply).status().code(), absl::StatusCode::kUnavailable) << reply;
  }
  EXPECT_EQ(MapOf("-NOAUTH Authentication required.\r\n").status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(MapOf("-LOADING Redis is loading\r\n").status().code(), absl::StatusCode::kUnavailable);
}

TEST(NodeAddress, IsReadAsRedisWritesIt) {
  const ListenAddress told_by{.host = "10.0.0.9", .port = 1};
  EXPECT_EQ(FormatListenAddress(ParseNodeAddress("10.0.0.1:6379", told_by).value()), "10.0.0.1:6379");
  EXPECT_EQ(FormatListenAddress(ParseNodeAddress("fd00::2:6379", told_by).value()), "[fd00::2]:6379");
  EXPECT_EQ(FormatListenAddress(ParseNodeAddress(":6379", told_by).value()), "10.0.0.9:6379");
  EXPECT_EQ(FormatListenAddress(ParseNodeAddress(":6379", {.unix_path = "/s"}).value()), "127.0.0.1:6379");
  for (const char* text : {"", "host", "host:", "host:0", "host:70000", "host:x"}) {
    EXPECT_THAT(std::string(ParseNodeAddress(text, told_by).status().message()), HasSubstr("HOST:PORT")) << text;
  }
}

}  // namespace
}  // namespace slimfill::kvstore
