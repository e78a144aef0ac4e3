#include "kvstore/l2/l2_options.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kvstore/l2/redis_servers.h"

namespace slimfill::kvstore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string ErrorOf(const L2Settings& settings) {
  const auto options = InterpretL2(settings);
  EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(options.status().message());
}

class L2OptionsTest : public ::testing::Test {
 protected:
  std::string File(const std::string& text) {
    const std::string path = folder_.File("file");
    WriteFile(path, text);
    return path;
  }
  TempFolder folder_;
};

TEST_F(L2OptionsTest, NoAddressMeansNoL2) { EXPECT_FALSE(InterpretL2({}).value().has_value()); }

TEST_F(L2OptionsTest, ReadsKeyPasswordAndTtl) {
  const RedisOptions options = InterpretL2({.l2 = "redis://127.0.0.1:6379",
                                            .user = "slimfill",
                                            .password = "secret",
                                            .key_file = File(" 00112233445566778899aAbBcCdDeEfF\n"),
                                            .ttl = "90m"})
                                   .value()
                                   .value();
  EXPECT_EQ(options.ttl, absl::Minutes(90));
  EXPECT_EQ(options.user, "slimfill");
  EXPECT_EQ(options.password, "secret");
  EXPECT_EQ(options.key->bytes[1], 0x11);
  EXPECT_EQ(options.key->bytes[15], 0xff);
}

TEST_F(L2OptionsTest, ThePasswordsFileCountsMoreThanTheEnvironment) {
  const auto options =
      InterpretL2({.l2 = "redis://127.0.0.1:6379", .password_file = File("from file\n"), .password = "other"});
  EXPECT_EQ(options.value()->password, "from file");
}

TEST_F(L2OptionsTest, KeysMayBeRawBytes) {
  const auto options = InterpretL2({.l2 = "unix:/run/redis.sock", .key_file = File("0123456789abcde\n")});
  EXPECT_EQ(options.value()->key->bytes[15], '\n');
}

TEST_F(L2OptionsTest, WrongKeysAreNamedAndNotShown) {
  L2Settings settings{.l2 = "redis://127.0.0.1:1", .key_file = File("deadbeef")};
  EXPECT_THAT(ErrorOf(settings), AllOf(HasSubstr("--l2-key-file"), HasSubstr(settings.key_file), HasSubstr("8 bytes"),
                                       HasSubstr("32 hexadecimal digits"), Not(HasSubstr("deadbeef"))));
  File("0011223344556677889900112233445g");
  EXPECT_THAT(ErrorOf(settings), HasSubstr("32 hexadecimal digits"));
  settings.key_file = folder_.File("missing");
  EXPECT_THAT(ErrorOf(settings), HasSubstr("cannot read"));
}

TEST_F(L2OptionsTest, SaysWhichFlagIsWrongAndWhatToDo) {
  const std::string near = "redis://127.0.0.1:1";
  EXPECT_THAT(ErrorOf({.l2 = "somewhere"}), HasSubstr("--l2: "));
  EXPECT_THAT(ErrorOf({.user = "me"}), AllOf(HasSubstr("--l2-user"), HasSubstr("give its address with --l2")));
  EXPECT_THAT(ErrorOf({.l2 = near, .user = "me"}), HasSubstr("--l2-password-file"));
  EXPECT_THAT(ErrorOf({.l2 = near, .tls_ca = "ca.pem"}), AllOf(HasSubstr("--l2-tls-ca"), HasSubstr("rediss://")));
  EXPECT_THAT(ErrorOf({.l2 = "rediss://h:1", .tls_cert = "c.pem"}), HasSubstr("--l2-tls-key"));
  EXPECT_THAT(ErrorOf({.l2 = near, .password_file = folder_.File("none")}), HasSubstr("cannot be read"));
  EXPECT_THAT(ErrorOf({.l2 = near, .password_file = File("\n")}), HasSubstr("is empty"));
  for (const char* ttl : {"soon", "0s", "-1h", "9000h", ""}) {
    EXPECT_THAT(ErrorOf({.l2 = near, .ttl = ttl}), AllOf(HasSubstr("--l2-ttl"), HasSubstr("24h"))) << ttl;
  }
}

TEST_F(L2OptionsTest, OtherMachinesNeedEncryption) {
  EXPECT_THAT(ErrorOf({.l2 = "redis://10.0.0.1:6379"}), AllOf(HasSubstr("10.0.0.1"), HasSubstr("--l2-key-file")));
  EXPECT_THAT(ErrorOf({.l2 = "redis://127.0.0.1:6379,redis:6379"}), HasSubstr("--l2-key-file"));
  EXPECT_TRUE(InterpretL2({.l2 = "rediss://10.0.0.1:6379"}).ok());
  EXPECT_TRUE(InterpretL2({.l2 = "redis://10.0.0.1:6379", .key_file = File("0123456789abcdef")}).ok());
}

}  // namespace
}  // namespace slimfill::kvstore
