// Mutual TLS between a store and its clients.
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/client/connect.h"
#include "kvstore/core/local_store.h"
#include "kvstore/service/kv_server.h"
#include "tests/kvstore/blocks.h"
#include "tests/support/key_pair.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;
using testing::KeyPair;
using testing::MakeKeyPair;

class KvTlsTest : public ::testing::Test {
 protected:
  KvTlsTest() {
    server_ = KvServer::Start({.host = "127.0.0.1", .port = 0, .loopback = true}, *store_, clock_, metrics_,
                              Identity(server_keys_, client_keys_))
                  .value();
  }
  static MutualTls Identity(const KeyPair& own, const KeyPair& peer) {
    return {.certificate = own.certificate, .key = own.key, .peer_ca = peer.certificate};
  }

  Code PutAndFetch(const std::optional<MutualTls>& tls) {
    GrpcStoreOptions options;
    options.tls = tls;
    const auto client = ConnectKvStore(FormatListenAddress(server_->address()), options, clock_, nullptr).value();
    const absl::Time deadline = clock_.Now() + absl::Seconds(30);
    const std::vector<std::byte> value = Bytes(1, 300000);
    const auto put = client->Put({Item(Key(1), value)}, 0, deadline);
    if (!put.ok()) return put.status().code();
    std::vector<std::byte> got(value.size());
    const auto fetched = client->Fetch({Into(Key(1), got)}, 0, deadline);
    if (!fetched.ok()) return fetched.status().code();
    EXPECT_EQ(got, value);
    return fetched->front().code();
  }

  const KeyPair server_keys_ = MakeKeyPair("store"), client_keys_ = MakeKeyPair("engine");
  FakeClock clock_;
  Metrics metrics_;
  std::unique_ptr<LocalKvStore> store_ = LocalKvStore::Create({.memory_bytes = 1 << 20}, clock_, nullptr).value();
  std::unique_ptr<KvServer> server_;
};

TEST_F(KvTlsTest, ServesClientsWhoseCertificateItKnows) {
  EXPECT_EQ(PutAndFetch(Identity(client_keys_, server_keys_)), Code::kOk);
}

TEST_F(KvTlsTest, RefusesAllOthers) {
  EXPECT_EQ(PutAndFetch(std::nullopt), Code::kUnavailable) << "plain text";
  const KeyPair stranger = MakeKeyPair("stranger");
  EXPECT_EQ(PutAndFetch(Identity(stranger, server_keys_)), Code::kUnavailable) << "a certificate of its own making";
  EXPECT_EQ(PutAndFetch(Identity({}, server_keys_)), Code::kUnavailable) << "no certificate";
  EXPECT_EQ(store_->Stats(absl::InfiniteFuture())->blocks, 0u);
}

TEST_F(KvTlsTest, ClientsRefuseStoresThatTheyDoNotKnow) {
  EXPECT_EQ(PutAndFetch(Identity(client_keys_, client_keys_)), Code::kUnavailable);
}

TEST_F(KvTlsTest, KeysThatDoNotFitTheirCertificateAreRefusedAtStart) {
  const MutualTls mixed{
      .certificate = server_keys_.certificate, .key = client_keys_.key, .peer_ca = client_keys_.certificate};
  const auto server =
      KvServer::Start({.host = "127.0.0.1", .port = 0, .loopback = true}, *store_, clock_, metrics_, mixed);
  EXPECT_EQ(server.status().code(), Code::kUnavailable);
  EXPECT_THAT(std::string(server.status().message()), ::testing::HasSubstr("TLS files do not fit"));
}

}  // namespace
}  // namespace slimfill::kvstore
