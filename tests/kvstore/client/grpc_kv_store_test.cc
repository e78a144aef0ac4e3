// Client and service over a real socket in one process.
#include "kvstore/client/grpc_kv_store.h"

#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/core/local_store.h"
#include "kvstore/service/kv_server.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/store_calls.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr size_t kMiB = 1 << 20;

class GrpcKvStoreTest : public ::testing::Test {
 protected:
  GrpcKvStoreTest() {
    StartServer({.host = "127.0.0.1", .port = 0, .loopback = true});
    Connect({});
  }

  void StartServer(ListenAddress listen) {
    server_.reset();
    LocalStoreOptions options{.memory_bytes = 64 * kMiB};
    options.limits.max_keys = 100;
    options.limits.max_items = 100;
    options.limits.max_value_bytes = 20 * kMiB;
    local_ = LocalKvStore::Create(options, clock_, nullptr).value();
    auto server = KvServer::Start(listen, *local_, clock_, server_metrics_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  void Connect(const GrpcStoreOptions& options) {
    client_ = GrpcKvStore::Create(FormatListenAddress(server_->address()), options, clock_, &metrics_).value();
  }

  absl::Time Deadline() { return clock_.Now() + absl::Seconds(30); }

  // Goes through probes until the breaker has closed.
  void WaitUntilHealed() {
    for (int probe = 0; probe < 20 && !client_->Stats(Deadline()).ok(); ++probe) clock_.Advance(absl::Seconds(8));
  }

  // The release is under way when Release returns; ask until the store has heard of it.
  void WaitForLeases(uint64_t leases) {
    for (int i = 0; i < 100000; ++i) {
      if (local_->Stats(absl::InfiniteFuture())->leases == leases) return;
      ASSERT_TRUE(client_->Stats(Deadline()).ok());  // a round trip over the same connection
    }
    FAIL() << "the store never heard of the release";
  }

  Code Put(uint32_t id, size_t size, LeaseId lease = 0, uint32_t parent = 0) {
    return PutBlock(*client_, id, size, lease, Deadline(), parent);
  }
  Code Fetch(uint32_t id, size_t size, LeaseId lease = 0) { return FetchBlock(*client_, id, size, lease, Deadline()); }

  FakeClock clock_;
  Metrics metrics_, server_metrics_;
  std::unique_ptr<LocalKvStore> local_;
  std::unique_ptr<KvServer> server_;
  std::unique_ptr<GrpcKvStore> client_;
};

TEST_F(GrpcKvStoreTest, ValuesOfAllSizesComeBack) {
  for (size_t size : {size_t{1}, size_t{1000}, 300 * size_t{1024}, kMiB - 1, kMiB, kMiB + 1, 5 * kMiB + 12345}) {
    const uint32_t id = static_cast<uint32_t>(size);
    ASSERT_EQ(Put(id, size), Code::kOk) << size;
    EXPECT_EQ(Fetch(id, size), Code::kOk) << size;
  }
}

TEST_F(GrpcKvStoreTest, ManyItemsOfMixedSizesAndPartsInOneCall) {
  std::vector<std::vector<std::byte>> values;
  for (uint32_t id = 1; id <= 60; ++id) values.push_back(Bytes(id, id % 15 == 0 ? 1500 * 1024 : 1000 * id));
  std::vector<PutItem> puts;
  for (uint32_t id = 1; id <= 60; ++id) {
    const auto value = absl::MakeConstSpan(values[id - 1]);
    puts.push_back({.key = Key(id), .parts = {value.subspan(0, 10), value.subspan(10)}});
  }
  EXPECT_THAT(*client_->Put(puts, 0, Deadline()), Each(absl::OkStatus()));
  std::vector<std::vector<std::byte>> got;
  for (const auto& value : values) got.emplace_back(value.size() - 5);
  std::vector<FetchItem> fetches;
  for (uint32_t id = 60; id >= 1; --id) fetches.push_back(Into(Key(id), got[id - 1], /*offset=*/5));
  EXPECT_THAT(*client_->Fetch(fetches, 0, Deadline()), Each(absl::OkStatus()));
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_TRUE(absl::MakeConstSpan(got[i]) == absl::MakeConstSpan(values[i]).subspan(5)) << i;
  }
}

TEST_F(GrpcKvStoreTest, MissesAndBadRangesAreNamedItemByItem) {
  ASSERT_EQ(Put(1, 100), Code::kOk);
  std::vector<std::byte> a(100), b(100, std::byte{7}), c(100, std::byte{7});
  const auto statuses =
      client_->Fetch({Into(Key(2), b), Into(Key(1), a), Into(Key(1), c, /*offset=*/1)}, 0, Deadline());
  ASSERT_TRUE(statuses.ok()) << statuses.status();
  EXPECT_EQ((*statuses)[0].code(), Code::kNotFound);
  EXPECT_TRUE((*statuses)[1].ok());
  EXPECT_EQ((*statuses)[2].code(), Code::kOutOfRange);
  EXPECT_EQ(a, Bytes(1, 100));
  EXPECT_THAT(b, Each(std::byte{7}));
  EXPECT_THAT(c, Each(std::byte{7}));
}

TEST_F(GrpcKvStoreTest, MatchesLeasesAndRenewsPrefixes) {
  for (uint32_t id = 1; id <= 3; ++id) ASSERT_EQ(Put(id, 100, 0, id - 1), Code::kOk);
  const PrefixMatch match = client_->MatchPrefix({Key(1), Key(2), Key(3), Key(4)}, Deadline()).value();
  EXPECT_EQ(match.blocks, 3);
  EXPECT_EQ(local_->Delete({Key(3)}).front().code(), Code::kFailedPrecondition);
  clock_.Advance(absl::Seconds(9));
  ASSERT_TRUE(client_->Renew(match.lease, Deadline()).ok());
  clock_.Advance(absl::Seconds(9));
  EXPECT_EQ(client_->Stats(Deadline())->leases, 1u);
  client_->Release(match.lease);
  WaitForLeases(0);
  EXPECT_TRUE(local_->Delete({Key(3)}).front().ok());
  EXPECT_EQ(client_->Renew(match.lease, Deadline()).code(), Code::kNotFound);
  EXPECT_EQ(client_->MatchPrefix({Key(9)}, Deadline())->lease, 0u);
}

TEST_F(GrpcKvStoreTest, PrivateBlocksBelongToTheirLeaseAndDieWithIt) {
  const LeaseId lease = client_->OpenPrivate(Deadline()).value();
  const LeaseId other = client_->OpenPrivate(Deadline()).value();
  ASSERT_EQ(Put(1, 2 * kMiB, lease), Code::kOk);
  EXPECT_EQ(Fetch(1, 2 * kMiB, lease), Code::kOk);
  EXPECT_EQ(Fetch(1, 2 * kMiB, other), Code::kNotFound);
  EXPECT_EQ(Fetch(1, 2 * kMiB), Code::kNotFound);
  client_->Release(lease);
  WaitForLeases(1);
  EXPECT_EQ(Fetch(1, 2 * kMiB, lease), Code::kNotFound);
  EXPECT_EQ(client_->Stats(Deadline())->bytes_used, 0u);
  EXPECT_EQ(Put(1, 100, lease), Code::kNotFound);
}

TEST_F(GrpcKvStoreTest, FullStoreRefusesItemByItem) {
  const LeaseId lease = client_->OpenPrivate(Deadline()).value();
  for (uint32_t id = 1; id <= 3; ++id) ASSERT_EQ(Put(id, 20 * kMiB, lease), Code::kOk);
  const std::vector<std::byte> large = Bytes(4, 20 * kMiB), small = Bytes(5, 100);
  const auto statuses = client_->Put({Item(Key(4), large), Item(Key(5), small)}, lease, Deadline());
  ASSERT_TRUE(statuses.ok()) << statuses.status();
  EXPECT_EQ((*statuses)[0].code(), Code::kResourceExhausted);
  EXPECT_THAT(std::string((*statuses)[0].message()), HasSubstr("--memory"));
  EXPECT_TRUE((*statuses)[1].ok());
  EXPECT_EQ(client_->Stats(Deadline())->puts_refused, 1u);
}

TEST_F(GrpcKvStoreTest, LimitsHoldOnBothSides) {
  const std::vector<BlockKey> keys(101);
  const auto by_server = client_->MatchPrefix(keys, Deadline());
  EXPECT_EQ(by_server.status().code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(by_server.status().message()), HasSubstr("101 keys, the limit is 100"));
  GrpcStoreOptions strict;
  strict.limits.max_keys = 10;
  Connect(strict);
  const auto by_client = client_->MatchPrefix({keys.data(), 11}, Deadline());
  EXPECT_THAT(std::string(by_client.status().message()), HasSubstr("11 keys, the limit is 10"));
  EXPECT_EQ(server_metrics_.Value(metric::kRequests, {"MatchPrefix", "INVALID_ARGUMENT"}), 1);
  EXPECT_EQ(metrics_.Value(metric::kKvStoreUp), 1) << "a refusal is a healthy answer";
}

TEST_F(GrpcKvStoreTest, EmptyCallsNeedNoStore) {
  server_->Stop(absl::ZeroDuration());
  EXPECT_EQ(client_->MatchPrefix({}, Deadline())->blocks, 0);
  EXPECT_TRUE(client_->Put({}, 0, Deadline())->empty());
  EXPECT_TRUE(client_->Fetch({}, 0, Deadline())->empty());
  client_->Release(0);
  EXPECT_EQ(metrics_.Value(metric::kKvStoreErrors, {"release"}), 0);
}

TEST_F(GrpcKvStoreTest, CorruptionInTheStoreIsDataLossAndThenAMiss) {
  ASSERT_EQ(Put(1, 1000), Code::kOk);
  const_cast<std::byte&>(local_->Read(Key(1), 0, 1, 0)->bytes[0]) ^= std::byte{1};
  EXPECT_EQ(Fetch(1, 1000), Code::kDataLoss);
  EXPECT_EQ(Fetch(1, 1000), Code::kNotFound);
}

TEST_F(GrpcKvStoreTest, CallWithAPassedDeadlineNeverGoesOut) {
  const absl::Time past = clock_.Now();
  EXPECT_EQ(client_->Stats(past).status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(client_->OpenPrivate(past).status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(server_metrics_.Value(metric::kRequests, {"Stats", "OK"}), 0);
}

TEST_F(GrpcKvStoreTest, DeathOfTheStoreOpensTheBreakerAndItsReturnClosesIt) {
  ASSERT_EQ(Put(1, 100), Code::kOk);
  const ListenAddress address = server_->address();
  server_.reset();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Fetch(1, 100), Code::kUnavailable);
  EXPECT_EQ(metrics_.Value(metric::kKvStoreUp), 0);
  StartServer(address);
  const auto refused = client_->Stats(Deadline());
  EXPECT_EQ(refused.status().code(), Code::kUnavailable);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("left alone"));
  EXPECT_EQ(server_metrics_.Value(metric::kRequests, {"Stats", "OK"}), 0) << "an open breaker sends nothing";
  clock_.Advance(absl::Milliseconds(500));
  EXPECT_EQ(Fetch(1, 100), Code::kNotFound) << "the new store is empty, not broken";
  EXPECT_EQ(metrics_.Value(metric::kKvStoreUp), 1);
  EXPECT_EQ(Put(1, 100), Code::kOk);
  EXPECT_EQ(Fetch(1, 100), Code::kOk);
}

TEST_F(GrpcKvStoreTest, UnixSocketsServeAsTcpDoes) {
  const std::string address = absl::StrCat("unix:", ::testing::TempDir(), "grpc_kv_store_test.", getpid());
  StartServer(ParseEndpoint(address).value());
  Connect({});
  ASSERT_EQ(Put(1, 5 * kMiB), Code::kOk);
  EXPECT_EQ(Fetch(1, 5 * kMiB), Code::kOk);
  server_.reset();
  EXPECT_EQ(Fetch(1, 100), Code::kUnavailable);
  StartServer(ParseEndpoint(address).value());
  WaitUntilHealed();
  EXPECT_EQ(Fetch(1, 100), Code::kNotFound);
}

TEST_F(GrpcKvStoreTest, LeasesOfAnEarlierStoreAreUnknown) {
  const LeaseId lease = client_->OpenPrivate(Deadline()).value();
  StartServer(server_->address());
  WaitUntilHealed();
  EXPECT_EQ(client_->Renew(lease, Deadline()).code(), Code::kNotFound);
  EXPECT_EQ(Put(1, 100, lease), Code::kNotFound);
  EXPECT_EQ(Fetch(1, 100, lease), Code::kNotFound);
}

TEST_F(GrpcKvStoreTest, StoreMayComeUpAfterItsClient) {
  const ListenAddress address = server_->address();
  server_.reset();
  client_ = GrpcKvStore::Create(FormatListenAddress(address), {}, clock_, &metrics_).value();
  EXPECT_EQ(client_->Stats(Deadline()).status().code(), Code::kUnavailable);
  StartServer(address);
  WaitUntilHealed();
  EXPECT_EQ(Put(1, 100), Code::kOk);
}

TEST_F(GrpcKvStoreTest, CountsBytesAndErrors) {
  ASSERT_EQ(Put(1, 1000), Code::kOk);
  ASSERT_EQ(Fetch(1, 1000), Code::kOk);
  ASSERT_EQ(Fetch(2, 1000), Code::kNotFound);
  EXPECT_EQ(metrics_.Value(metric::kKvTransferBytes, {"put", "grpc"}), 1000);
  EXPECT_EQ(metrics_.Value(metric::kKvTransferBytes, {"fetch", "grpc"}), 1000);
  EXPECT_EQ(metrics_.Value(metric::kKvTransferSeconds, {"fetch", "grpc"}), 2);
  EXPECT_EQ(metrics_.Value(metric::kKvStoreErrors, {"fetch"}), 0) << "a miss is no error";
  EXPECT_EQ(server_metrics_.Value(metric::kKvTransferBytes, {"put", "grpc"}), 1000);
  EXPECT_EQ(server_metrics_.Value(metric::kRequests, {"Fetch", "OK"}), 2);
  server_->Stop(absl::ZeroDuration());
  EXPECT_EQ(Fetch(1, 1000), Code::kUnavailable);
  EXPECT_EQ(metrics_.Value(metric::kKvStoreErrors, {"fetch"}), 1);
  EXPECT_STREQ(client_->path(), "grpc");
}

TEST_F(GrpcKvStoreTest, ManyThreadsShareOneClient) {
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0;
  for (uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this, thread, &failures] {
      for (uint32_t i = 0; i < 20; ++i) {
        const uint32_t id = 1000 + thread * 100 + i;
        const std::vector<std::byte> value = Bytes(id, 50000 + id * 10);
        std::vector<std::byte> got(value.size());
        const auto put = client_->Put({Item(Key(id), value)}, 0, Deadline());
        const auto fetch = client_->Fetch({Into(Key(id), got)}, 0, Deadline());
        const auto match = client_->MatchPrefix({Key(id)}, Deadline());
        if (!put.ok() || !put->front().ok() || !fetch.ok() || !fetch->front().ok() || got != value) ++failures;
        if (match.ok()) client_->Release(match->lease);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  WaitForLeases(0);
}

TEST(GrpcKvStoreOptions, RefusesBadAddressesAndOptions) {
  const SystemClock clock;
  for (const char* address : {"", "nonsense", "127.0.0.1:0", "127.0.0.1:99999"}) {
    EXPECT_EQ(GrpcKvStore::Create(address, {}, clock, nullptr).status().code(), Code::kInvalidArgument) << address;
  }
  EXPECT_EQ(GrpcKvStore::Create("127.0.0.1:1", {.message_bytes = 100}, clock, nullptr).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(GrpcKvStore::Create("127.0.0.1:1", {.max_call_time = absl::Hours(1)}, clock, nullptr).status().code(),
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace slimfill::kvstore
