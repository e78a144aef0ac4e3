// TLS to a real server, with certificates made for the test.
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/l2/redis_cluster.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/l2/redis_servers.h"
#include "tests/support/key_pair.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;
using ::slimfill::testing::KeyPair;
using ::slimfill::testing::MakeKeyPair;
using ::testing::HasSubstr;

class RedisTlsTest : public ::testing::Test {
 protected:
  void Start(const KeyPair& keys, const char* ask_clients) {
    WriteFile(folder_.File("cert"), keys.certificate);
    WriteFile(folder_.File("key"), keys.key);
    tls_port_ = FreePort();
    server_ = std::make_unique<RedisServer>(std::vector<std::string>{
        "--tls-port", absl::StrCat(tls_port_), "--tls-cert-file", folder_.File("cert"), "--tls-key-file",
        folder_.File("key"), "--tls-ca-cert-file", folder_.File("cert"), "--tls-auth-clients", ask_clients});
  }

  absl::Status PutAndGet(const TlsFiles& files) {
    RedisOptions options;
    options.address = {.seeds = {{.host = "127.0.0.1", .port = tls_port_}}, .tls = true};
    options.tls = files;
    auto l2 = RedisCluster::Create(options, clock_, nullptr);
    if (!l2.ok()) return l2.status();
    const std::vector<std::byte> value = Bytes(1, 5 * kChunkBytes);
    const absl::Status put = (*l2)->Put({L2Write{Key(1), {}, 0, value}}, absl::InfiniteFuture()).front();
    if (!put.ok()) return put;
    std::vector<std::byte> got(value.size());
    const L2Entry entry = (*l2)->Find({Key(1)}, absl::InfiniteFuture()).front().value();
    const absl::Status status =
        (*l2)->Get({L2Read{Key(1), entry, absl::MakeSpan(got)}}, absl::InfiniteFuture()).front();
    EXPECT_TRUE(got == value);
    return status;
  }

  SystemClock clock_;
  TempFolder folder_;
  uint16_t tls_port_ = 0;
  std::unique_ptr<RedisServer> server_;
};

TEST_F(RedisTlsTest, ValuesGoOverTls) {
  Start(MakeKeyPair("redis"), "no");
  EXPECT_TRUE(PutAndGet({.ca = folder_.File("cert")}).ok());
}

TEST_F(RedisTlsTest, UnknownAuthoritiesAreRefused) {
  Start(MakeKeyPair("redis"), "no");
  WriteFile(folder_.File("other"), MakeKeyPair("other").certificate);
  for (const TlsFiles& files : {TlsFiles{.ca = folder_.File("other")}, TlsFiles{}}) {
    const absl::Status status = PutAndGet(files);
    EXPECT_EQ(status.code(), Code::kUnavailable);
    EXPECT_THAT(std::string(status.message()), HasSubstr("certificate verify failed"));
  }
}

TEST_F(RedisTlsTest, ACertificateForAnotherHostIsRefused) {
  Start(MakeKeyPair("redis", "DNS:elsewhere,IP:10.0.0.1"), "no");
  EXPECT_THAT(std::string(PutAndGet({.ca = folder_.File("cert")}).message()), HasSubstr("certificate verify failed"));
}

TEST_F(RedisTlsTest, ShowsItsOwnCertificateWhereOneIsAskedFor) {
  Start(MakeKeyPair("redis"), "yes");
  EXPECT_EQ(PutAndGet({.ca = folder_.File("cert")}).code(), Code::kUnavailable);
  EXPECT_TRUE(PutAndGet({.ca = folder_.File("cert"), .cert = folder_.File("cert"), .key = folder_.File("key")}).ok());
}

TEST_F(RedisTlsTest, AServerThatDoesNotSpeakTlsIsAMiss) {
  Start(MakeKeyPair("redis"), "no");
  tls_port_ = server_->port();
  const absl::Status status = PutAndGet({.ca = folder_.File("cert")});
  EXPECT_TRUE(absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status)) << status;
}

TEST_F(RedisTlsTest, FilesThatCannotBeUsedAreNamed) {
  WriteFile(folder_.File("text"), "no certificate");
  const std::string text = folder_.File("text"), missing = folder_.File("missing");
  for (const TlsFiles& files : {TlsFiles{.ca = text}, TlsFiles{.cert = text}, TlsFiles{.key = text}}) {
    const absl::Status status = PutAndGet(files);
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
  EXPECT_THAT(std::string(PutAndGet({.ca = missing}).message()), HasSubstr(missing));
}

}  // namespace
}  // namespace slimfill::kvstore
