#include "kvstore/l2/l2_address.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(L2Address, ReadsEveryForm) {
  const L2Address cluster = ParseL2Address("redis://10.0.0.1:6379,[fd00::2]:6380,redis-2.redis:6381").value();
  ASSERT_EQ(cluster.seeds.size(), 3u);
  EXPECT_FALSE(cluster.tls);
  EXPECT_EQ(cluster.seeds[1].host, "fd00::2");
  EXPECT_EQ(cluster.seeds[2].port, 6381);
  EXPECT_TRUE(ParseL2Address("rediss://h:1")->tls);
  EXPECT_EQ(ParseL2Address("unix:/run/redis.sock")->seeds.front().unix_path, "/run/redis.sock");
}

TEST(L2Address, IsWrittenAsItIsRead) {
  for (const char* text : {"redis://10.0.0.1:6379,[fd00::2]:6380", "rediss://h:1", "unix:/run/redis.sock"}) {
    EXPECT_EQ(FormatL2Address(ParseL2Address(text).value()), text);
  }
}

TEST(L2Address, SaysWhatIsWrong) {
  const auto error = [](const char* text) { return std::string(ParseL2Address(text).status().message()); };
  EXPECT_THAT(error("http://h:1"), AllOf(HasSubstr("http://h:1"), HasSubstr("redis://HOST:PORT")));
  EXPECT_THAT(error("h:1"), HasSubstr("rediss://"));
  EXPECT_THAT(error("redis://"), HasSubstr("HOST:PORT"));
  EXPECT_THAT(error("redis://h"), HasSubstr("'h' has no port"));
  EXPECT_THAT(error("redis://h:1,,i:2"), HasSubstr("HOST:PORT"));
  EXPECT_THAT(error("redis://h:0"), HasSubstr("port 0"));
  EXPECT_THAT(error("redis://h:70000"), HasSubstr("0 to 65535"));
  EXPECT_THAT(error("unix:"), HasSubstr("unix:PATH"));
  EXPECT_THAT(error("redis://me:secret@h:1"), AllOf(HasSubstr("--l2-password-file"), Not(HasSubstr("secret"))));
  std::string many = "redis://h:1";
  for (int i = 0; i < 64; ++i) many += ",h:1";
  EXPECT_THAT(error(many.c_str()), HasSubstr("64"));
}

}  // namespace
}  // namespace slimfill::kvstore
