// The gRPC service before a store with an L2: calls that wait for promotions hold up nobody and always end.
#include <memory>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "kvstore/client/grpc_kv_store.h"
#include "kvstore/l2/tiered_store.h"
#include "kvstore/service/kv_server.h"
#include "tests/kvstore/l2/tier_scene.h"

namespace slimfill::kvstore {
namespace {

class TieredServerTest : public TierScene {
 protected:
  TieredServerTest() {
    tier_ = std::make_unique<TieredStore>(*store_, l2_, TierOptions{.promotions = 1}, clock_, &metrics_);
    server_ = KvServer::Start({.host = "127.0.0.1", .port = 0, .loopback = true}, *store_, clock_, metrics_,
                              std::nullopt, tier_.get())
                  .value();
    client_ = Connect();
  }
  std::unique_ptr<GrpcKvStore> Connect() {
    return GrpcKvStore::Create(FormatListenAddress(server_->address()), {}, clock_, nullptr).value();
  }

  std::unique_ptr<TieredStore> tier_;
  std::unique_ptr<KvServer> server_;  // ends before the tier, which answers its calls
  std::unique_ptr<GrpcKvStore> client_;
};

TEST_F(TieredServerTest, ClientsGetWhatTheL2Has) {
  PutIntoStore(1, 2);
  PutIntoL2(3, 6);
  const PrefixMatch match = client_->MatchPrefix(Chain(8), Deadline()).value();
  EXPECT_EQ(match.blocks, 6);
  std::vector<std::byte> got(kBlockBytes);
  EXPECT_TRUE(client_->Fetch({Into(Key(6), got)}, match.lease, Deadline())->front().ok());
  EXPECT_EQ(got, Bytes(6, kBlockBytes));
  client_->Release(match.lease);
}

TEST_F(TieredServerTest, CallsThatWaitForTheL2HoldUpNoOthers) {
  PutIntoStore(1, 2);
  PutIntoL2(11, 12);
  l2_.Hold(true);
  std::thread waiting([&] { EXPECT_EQ(Connect()->MatchPrefix(Chain(2, 11), Deadline())->blocks, 2); });
  l2_.AwaitCaller();
  EXPECT_EQ(client_->MatchPrefix(Chain(2), Deadline())->blocks, 2);
  EXPECT_TRUE(client_->Stats(Deadline()).ok());
  l2_.Hold(false);
  waiting.join();
}

TEST_F(TieredServerTest, AClientThatGivesUpLeavesNothingBehind) {
  PutIntoL2(1, 3);
  l2_.Hold(true);
  const auto match = client_->MatchPrefix(Chain(3), clock_.Now() + absl::Milliseconds(200));
  EXPECT_EQ(match.status().code(), absl::StatusCode::kDeadlineExceeded);
  l2_.Hold(false);
  EXPECT_EQ(client_->MatchPrefix(Chain(3), Deadline())->blocks, 3);
  clock_.Advance(absl::Minutes(1));  // nobody renews the lease that the client never heard of
  EXPECT_EQ(store_->Stats(Deadline() + absl::Minutes(2))->leases, 0u);
}

TEST_F(TieredServerTest, AServerThatEndsAnswersOrDropsTheCallsThatWait) {
  PutIntoL2(1, 3);
  l2_.Hold(true);
  std::thread waiting([&] {
    const auto match = client_->MatchPrefix(Chain(3), Deadline());
    EXPECT_TRUE(match.ok() || absl::IsUnavailable(match.status()) || absl::IsCancelled(match.status()))
        << match.status();
  });
  l2_.AwaitCaller();
  std::thread ending([&] { server_.reset(); });
  l2_.Hold(false);
  ending.join();
  waiting.join();
}

}  // namespace
}  // namespace slimfill::kvstore
