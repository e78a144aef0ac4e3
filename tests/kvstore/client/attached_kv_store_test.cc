// A client that reads the memory of a store in the same process, over real sockets.
#include "kvstore/client/attached_kv_store.h"

#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/client/connect.h"
#include "kvstore/core/local_store.h"
#include "kvstore/service/kv_server.h"
#include "kvstore/shm/socket.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/store_calls.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;
using ::testing::HasSubstr;

constexpr size_t kMiB = 1 << 20;

class AttachedKvStoreTest : public ::testing::Test {
 protected:
  AttachedKvStoreTest() {
    char folder[] = "/tmp/slimfill-attach-XXXXXX";
    folder_ = mkdtemp(folder);
    StartServer();
    Connect();
  }
  ~AttachedKvStoreTest() override {
    client_.reset();
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::string socket() const { return folder_ + "/kv.sock"; }

  void StartServer(bool shared_memory = true, uint64_t memory_bytes = 64 * kMiB) {
    server_.reset();
    local_ =
        LocalKvStore::Create({.memory_bytes = memory_bytes, .shared_memory = shared_memory}, clock_, nullptr).value();
    auto server = KvServer::Start({.unix_path = socket()}, *local_, clock_, server_metrics_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void Connect(const AttachedKvStore::Options& options = {}) {
    client_ = std::make_unique<AttachedKvStore>(GrpcKvStore::Create("unix:" + socket(), {}, clock_, &metrics_).value(),
                                                socket(), options, clock_, &metrics_);
  }
  absl::Time Deadline() { return clock_.Now() + absl::Seconds(30); }

  Code Put(uint32_t id, size_t size, LeaseId lease = 0) { return PutBlock(*client_, id, size, lease, Deadline()); }
  Code Fetch(uint32_t id, size_t size, LeaseId lease = 0) { return FetchBlock(*client_, id, size, lease, Deadline()); }
  double Moved(const char* direction, const char* path) {
    return metrics_.Value(metric::kKvTransferBytes, {direction, path});
  }
  // The end of a connection is noticed soon, by another thread.
  void WaitForLeases(uint64_t leases) {
    for (int i = 0; i < 30000 && local_->Stats(absl::InfiniteFuture())->leases != leases; ++i) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    EXPECT_EQ(local_->Stats(absl::InfiniteFuture())->leases, leases);
  }

  FakeClock clock_;
  Metrics metrics_, server_metrics_;
  std::string folder_;
  std::unique_ptr<LocalKvStore> local_;
  std::unique_ptr<KvServer> server_;
  std::unique_ptr<AttachedKvStore> client_;
};

TEST_F(AttachedKvStoreTest, LargeBlocksGoByMemoryAndSmallOnesAreReadOverGrpc) {
  for (const uint32_t size : {1u, 4096u, 65536u, 70001u, 3u << 20}) {
    ASSERT_EQ(Put(size, size), Code::kOk);
    EXPECT_EQ(Fetch(size, size), Code::kOk);
  }
  const double all = 1 + 4096 + 65536 + 70001 + (3 << 20);
  EXPECT_EQ(Moved("put", "shm"), all);
  EXPECT_EQ(Moved("fetch", "shm"), all - 1);
  EXPECT_EQ(Moved("fetch", "grpc"), 1);
}

TEST_F(AttachedKvStoreTest, ManyItemsMissesAndRangesInOneCall) {
  constexpr uint32_t kItems = 700;  // more than a message holds
  std::vector<std::vector<std::byte>> values, got;
  std::vector<PutItem> puts;
  std::vector<FetchItem> fetches;
  for (uint32_t i = 0; i < kItems; ++i) values.push_back(Bytes(i, 10 + i * 40));
  for (uint32_t i = 0; i < kItems; ++i) puts.push_back(Item(Key(i), values[i]));
  const std::vector<absl::Status> stored = client_->Put(puts, 0, Deadline()).value();
  for (const absl::Status& status : stored) EXPECT_TRUE(status.ok()) << status;
  for (uint32_t i = 0; i < kItems; ++i) got.emplace_back(values[i].size() - 5);
  for (uint32_t i = 0; i < kItems; ++i) fetches.push_back(Into(Key(i % 100 == 99 ? 5000 + i : i), got[i], 5));
  fetches[3].offset = 1000;
  const std::vector<absl::Status> statuses = client_->Fetch(fetches, 0, Deadline()).value();
  for (uint32_t i = 0; i < kItems; ++i) {
    if (i == 3 || i % 100 == 99) {
      EXPECT_EQ(statuses[i].code(), i == 3 ? Code::kOutOfRange : Code::kNotFound);
    } else {
      ASSERT_TRUE(statuses[i].ok()) << i << statuses[i];
      EXPECT_TRUE(std::equal(got[i].begin(), got[i].end(), values[i].begin() + 5)) << i;
    }
  }
}

TEST_F(AttachedKvStoreTest, ValuesLargerThanTheWindowArePutOverGrpc) {
  Connect({.window_bytes = 100000});
  const std::vector<std::byte> small = Bytes(1, 60000), large = Bytes(2, 100001), other = Bytes(3, 60000);
  const auto statuses =
      client_->Put({Item(Key(1), small), Item(Key(2), large), Item(Key(3), other)}, 0, Deadline()).value();
  for (const absl::Status& status : statuses) EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(Moved("put", "shm"), 120000);
  EXPECT_EQ(Moved("put", "grpc"), 100001);
  EXPECT_EQ(Fetch(2, 100001), Code::kOk);
  EXPECT_EQ(Fetch(3, 60000), Code::kOk);
}

TEST_F(AttachedKvStoreTest, PrivateBlocksNeedTheirLease) {
  const LeaseId lease = client_->OpenPrivate(Deadline()).value();
  ASSERT_EQ(Put(1, 50000, lease), Code::kOk);
  EXPECT_EQ(Fetch(1, 50000, lease), Code::kOk);
  EXPECT_EQ(Fetch(1, 50000), Code::kNotFound);
  EXPECT_EQ(Put(2, 50000, lease + 1), Code::kNotFound);
}

TEST_F(AttachedKvStoreTest, CorruptionIsFoundByTheReaderAndDroppedByTheStore) {
  ASSERT_EQ(Put(1, 200000), Code::kOk);
  const_cast<std::byte&>(local_->Read(Key(1), 150000, 1, 0)->bytes[0]) ^= std::byte{1};
  EXPECT_EQ(Fetch(1, 100000), Code::kOk) << "the pages before are sound";
  EXPECT_EQ(Fetch(1, 200000), Code::kDataLoss);
  EXPECT_EQ(Fetch(1, 200000), Code::kNotFound);
}

TEST_F(AttachedKvStoreTest, StoresWithoutSharedMemoryServeOverGrpc) {
  StartServer(/*shared_memory=*/false);
  Connect();
  ASSERT_EQ(Put(1, 50000), Code::kOk);
  EXPECT_EQ(Fetch(1, 50000), Code::kOk);
  EXPECT_EQ(Moved("put", "shm") + Moved("fetch", "shm"), 0);
  EXPECT_EQ(server_metrics_.Value(metric::kRequests, {"Attach", "FAILED_PRECONDITION"}), 1)
      << "asked once, not each time";
}

TEST_F(AttachedKvStoreTest, AttachesAgainAfterARestart) {
  ASSERT_EQ(Put(1, 50000), Code::kOk);
  StartServer();
  // The channel takes a moment to notice; the breaker may have opened meanwhile.
  Code code = Fetch(1, 50000);
  for (int probe = 0; probe < 20 && code == Code::kUnavailable; ++probe) {
    clock_.Advance(absl::Seconds(8));
    code = Fetch(1, 50000);
  }
  EXPECT_EQ(code, Code::kNotFound) << "the new store is empty";
  EXPECT_EQ(Put(1, 50000), Code::kOk);
  clock_.Advance(absl::Seconds(1));
  const double by_memory = Moved("fetch", "shm");
  EXPECT_EQ(Fetch(1, 50000), Code::kOk);
  EXPECT_EQ(Moved("fetch", "shm"), by_memory + 50000);
}

TEST_F(AttachedKvStoreTest, WaitsBeforeItTriesToAttachAgain) {
  ASSERT_EQ(Put(1, 50000), Code::kOk);
  std::filesystem::remove(socket() + ".shm");
  Connect();
  EXPECT_EQ(Fetch(1, 50000), Code::kOk) << "over gRPC";
  EXPECT_EQ(Fetch(1, 50000), Code::kOk);
  EXPECT_EQ(server_metrics_.Value(metric::kRequests, {"Attach", "OK"}), 2) << "one of each client";
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Fetch(1, 50000), Code::kOk);
  EXPECT_EQ(server_metrics_.Value(metric::kRequests, {"Attach", "OK"}), 3);
  EXPECT_EQ(Moved("fetch", "shm"), 0);
}

TEST_F(AttachedKvStoreTest, DeathOfTheStoreIsUnavailable) {
  ASSERT_EQ(Put(1, 50000), Code::kOk);
  server_.reset();
  EXPECT_EQ(Fetch(1, 50000), Code::kUnavailable);
  EXPECT_EQ(Put(2, 50000), Code::kUnavailable);
}

TEST_F(AttachedKvStoreTest, LeasesEndWithTheClient) {
  ASSERT_EQ(Put(1, 50000), Code::kOk);  // attaches
  ASSERT_TRUE(client_->OpenPrivate(Deadline()).ok());
  ASSERT_EQ(client_->MatchPrefix({Key(1)}, Deadline())->blocks, 1);
  WaitForLeases(2);
  client_.reset();
  WaitForLeases(0);
}

TEST_F(AttachedKvStoreTest, LimitsHoldAsOverGrpc) {
  std::vector<std::byte> byte(1);
  const std::vector<FetchItem> too_many(KvLimits().max_items + 1, Into(Key(1), byte));
  EXPECT_TRUE(absl::IsInvalidArgument(client_->Fetch(too_many, 0, Deadline()).status()));
  const std::vector<std::byte> empty;
  EXPECT_TRUE(absl::IsInvalidArgument(client_->Put({Item(Key(1), empty)}, 0, Deadline()).status()));
  EXPECT_TRUE(client_->Fetch({}, 0, Deadline())->empty());
  EXPECT_TRUE(absl::IsDeadlineExceeded(client_->Fetch({Into(Key(1), byte)}, 0, clock_.Now()).status()));
}

TEST_F(AttachedKvStoreTest, StrangersAreRefused) {
  const auto open = [&](const std::string& token) {
    return ShmConnection::Open(socket() + ".shm", token, 4096, absl::Now() + absl::Seconds(30)).status();
  };
  EXPECT_TRUE(absl::IsPermissionDenied(open(std::string(16, 'x')))) << "no such token";
  const auto grpc = GrpcKvStore::Create("unix:" + socket(), {}, clock_, nullptr).value();
  const std::string token = grpc->Attach(Deadline())->token;
  EXPECT_TRUE(open(token).ok());
  EXPECT_TRUE(absl::IsPermissionDenied(open(token))) << "a token opens once";
  // Garbage gets the sender hung up on, and nobody else.
  ShmSocket garbage = ShmSocket::Connect(socket() + ".shm").value();
  ASSERT_TRUE(garbage.Send(shm::Bytes(100, std::byte{7}), -1, absl::Now() + absl::Seconds(30)).ok());
  while (garbage.Receive(nullptr, absl::Now() + absl::Seconds(30)).ok()) {
  }
  ASSERT_EQ(Put(1, 50000), Code::kOk);
  EXPECT_EQ(Moved("put", "shm"), 50000);
}

TEST_F(AttachedKvStoreTest, ConnectChoosesTheWay) {
  EXPECT_STREQ(ConnectKvStore("unix:" + socket(), {}, clock_, nullptr).value()->path(), "shm");
  EXPECT_STREQ(ConnectKvStore("127.0.0.1:1", {}, clock_, nullptr).value()->path(), "grpc");
  EXPECT_TRUE(absl::IsInvalidArgument(ConnectKvStore("nowhere", {}, clock_, nullptr).status()));
}

// Blocks are evicted and their memory is used again while they are read: whatever is said to be there is right.
TEST_F(AttachedKvStoreTest, NeverWrongBytesWhileMemoryIsReused) {
  StartServer(/*shared_memory=*/true, /*memory_bytes=*/2 * kMiB);
  Connect();
  constexpr size_t kSize = 150000;  // a dozen fit
  std::atomic<uint32_t> newest{0};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint32_t id = 1; !stop; ++id) {
      const std::vector<std::byte> value = Bytes(id, kSize);
      ASSERT_TRUE(local_->PutOne(Item(Key(id), value), 0).ok());
      newest = id;
    }
  });
  int found = 0;
  for (int i = 0; i < 2000; ++i) {
    const uint32_t id = newest > 8 ? newest - i % 8 : 1;
    const Code code = Fetch(id, kSize);  // compares the bytes of what it found
    EXPECT_TRUE(code == Code::kOk || code == Code::kNotFound) << absl::StatusCodeToString(code);
    found += code == Code::kOk;
  }
  stop = true;
  writer.join();
  EXPECT_GT(found, 0);
}

}  // namespace
}  // namespace slimfill::kvstore
