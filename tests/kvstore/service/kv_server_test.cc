// The server as other clients meet it: raw stubs, health checks, calls that break the rules.
#include "kvstore/service/kv_server.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "kvstore/api/checksum.h"
#include "kvstore/service/watch_hub.h"
#include "slimfill/v1/kvstore.grpc.pb.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

class KvServerTest : public ::testing::Test {
 protected:
  KvServerTest() {
    channel_ = grpc::CreateChannel(FormatListenAddress(server_->address()), grpc::InsecureChannelCredentials());
    stub_ = v1::KvStoreService::NewStub(channel_);
  }

  static std::chrono::system_clock::time_point In(std::chrono::seconds seconds) {
    return std::chrono::system_clock::now() + seconds;
  }

  // A health service's status, or UNKNOWN when the call fails.
  HealthCheckResponse::ServingStatus HealthOf(const std::string& service) {
    grpc::ClientContext context;
    context.set_deadline(In(std::chrono::seconds(30)));
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const bool ok = Health::NewStub(channel_)->Check(&context, request, &response).ok();
    return ok ? response.status() : HealthCheckResponse::UNKNOWN;
  }

  grpc::Status Put(const std::vector<v1::PutRequest>& requests, grpc::ClientContext& context,
                   v1::PutResponse* response) {
    auto writer = stub_->Put(&context, response);
    for (const v1::PutRequest& request : requests) writer->Write(request);
    writer->WritesDone();
    return writer->Finish();
  }

  FakeClock clock_;
  Metrics metrics_;
  std::unique_ptr<LocalKvStore> store_ = LocalKvStore::Create({.memory_bytes = 1 << 20}, clock_, nullptr).value();
  std::unique_ptr<KvServer> server_ =
      KvServer::Start({.host = "127.0.0.1", .port = 0, .loopback = true}, *store_, clock_, metrics_).value();
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::KvStoreService::Stub> stub_;
};

TEST_F(KvServerTest, SaysThatItServesAndWhenItStops) {
  for (const char* service : {"", "slimfill.v1.KvStoreService", "readiness", "liveness"}) {
    EXPECT_EQ(HealthOf(service), HealthCheckResponse::SERVING) << service;
  }
  // A watcher stays connected while the server drains and hears of it.
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service("readiness");
  auto watch = Health::NewStub(channel_)->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  server_->Stop(absl::Seconds(1));
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  context.TryCancel();
  watch->Finish();
}

TEST_F(KvServerTest, PicksAFreePortAndRefusesOneInUse) {
  ASSERT_NE(server_->address().port, 0);
  const auto second = KvServer::Start(server_->address(), *store_, clock_, metrics_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(HasSubstr(FormatListenAddress(server_->address())), HasSubstr("--listen")));
}

TEST_F(KvServerTest, ListensOnAUnixSocketOfItsUserAndLeavesNoneBehind) {
  const std::string path = absl::StrCat(::testing::TempDir(), "kv_server_test.", getpid());
  const ListenAddress address = ParseEndpoint("unix:" + path).value();
  auto server = KvServer::Start(address, *store_, clock_, metrics_).value();
  struct stat found = {};
  ASSERT_EQ(lstat(path.c_str(), &found), 0);
  EXPECT_TRUE(S_ISSOCK(found.st_mode));
  EXPECT_EQ(found.st_mode & 0077, 0u);
  const auto second = KvServer::Start(server->address(), *store_, clock_, metrics_);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("another server"));
  const auto stub =
      v1::KvStoreService::NewStub(grpc::CreateChannel("unix:" + path, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(In(std::chrono::seconds(30)));
  v1::StatsResponse stats;
  EXPECT_TRUE(stub->Stats(&context, {}, &stats).ok());
  server.reset();
  EXPECT_NE(lstat(path.c_str(), &found), 0);
}

TEST_F(KvServerTest, StreamsNeedADeadlineThatComes) {
  for (bool far : {false, true}) {
    grpc::ClientContext put_context, fetch_context;
    if (far) {
      put_context.set_deadline(In(std::chrono::hours(1)));
      fetch_context.set_deadline(In(std::chrono::hours(1)));
    }
    v1::PutResponse put_response;
    const grpc::Status put = Put({}, put_context, &put_response);
    EXPECT_EQ(put.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(put.error_message(), HasSubstr("deadline"));
    auto reader = stub_->Fetch(&fetch_context, {});
    v1::FetchResponse fetch_response;
    EXPECT_FALSE(reader->Read(&fetch_response));
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
}

TEST_F(KvServerTest, BrokenRulesEndTheCallWithTheReason) {
  v1::PutRequest request;
  request.add_blocks()->set_key("short");
  request.mutable_blocks(0)->set_total_bytes(10);
  grpc::ClientContext context;
  context.set_deadline(In(std::chrono::seconds(30)));
  v1::PutResponse response;
  const grpc::Status status = Put({request}, context, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("5 bytes, a block key has 32"));
  EXPECT_EQ(metrics_.Value(metric::kRequests, {"Put", "INVALID_ARGUMENT"}), 1);

  grpc::ClientContext match_context;
  v1::MatchPrefixRequest match;
  match.add_keys(std::string(31, 'k'));
  v1::MatchPrefixResponse match_response;
  EXPECT_THAT(stub_->MatchPrefix(&match_context, match, &match_response).error_message(), HasSubstr("31 bytes"));
}

TEST_F(KvServerTest, CancelledPutLeavesNothing) {
  grpc::ClientContext context;
  context.set_deadline(In(std::chrono::seconds(30)));
  v1::PutResponse response;
  auto writer = stub_->Put(&context, &response);
  v1::PutRequest request;
  v1::PutBlock* block = request.add_blocks();
  block->set_key(std::string(32, 'k'));
  block->set_total_bytes(100);
  v1::Chunk* chunk = request.add_chunks();
  chunk->set_data("only a part");
  ASSERT_TRUE(writer->Write(request));
  context.TryCancel();
  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  server_->Stop(absl::Seconds(30));  // returns when the call has ended on this side too
  EXPECT_EQ(store_->Stats(absl::InfiniteFuture())->bytes_used, 0u);
}

TEST_F(KvServerTest, StoppingFinishesTheStreamsUnderWayAndTakesNoNewOnes) {
  grpc::ClientContext context;
  context.set_deadline(In(std::chrono::seconds(60)));
  v1::PutResponse response, late_response;
  auto writer = stub_->Put(&context, &response);
  const std::vector<std::byte> value = Bytes(1, 10);
  v1::PutRequest request;
  v1::PutBlock* block = request.add_blocks();
  block->set_key(RawKey(Key(1)));
  block->set_total_bytes(value.size());
  ASSERT_TRUE(writer->Write(request));
  // Wait for the stream to be inside: its second message has been read when the block has its room.
  v1::PutRequest first_half;
  v1::Chunk* first_chunk = first_half.add_chunks();
  first_chunk->set_data(value.data(), 4);
  first_chunk->set_checksum(Checksum(Key(1), 0, absl::MakeConstSpan(value).subspan(0, 4)));
  ASSERT_TRUE(writer->Write(first_half));
  while (store_->Stats(absl::InfiniteFuture())->bytes_used == 0) std::this_thread::yield();
  std::thread stopping([&] { server_->Stop(absl::Seconds(60)); });
  while (HealthOf("readiness") == HealthCheckResponse::SERVING) {
  }
  grpc::Status late;
  do {
    grpc::ClientContext another_context;
    another_context.set_deadline(In(std::chrono::seconds(60)));
    late = Put({}, another_context, &late_response);
  } while (late.ok());  // the gate closes just after the health service has spoken
  EXPECT_EQ(late.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(late.error_message(), HasSubstr("stopping"));
  v1::PutRequest rest;
  v1::Chunk* chunk = rest.add_chunks();
  chunk->set_offset(4);
  chunk->set_data(value.data() + 4, value.size() - 4);
  chunk->set_checksum(Checksum(Key(1), 4, absl::MakeConstSpan(value).subspan(4)));
  ASSERT_TRUE(writer->Write(rest));
  writer->WritesDone();
  EXPECT_TRUE(writer->Finish().ok());
  stopping.join();
  ASSERT_EQ(response.statuses_size(), 1);
  EXPECT_EQ(response.statuses(0).code(), grpc::StatusCode::OK);
}

TEST_F(KvServerTest, DeletesIdleBlocks) {
  const std::vector<std::byte> value = Bytes(1, 10);
  ASSERT_TRUE(store_->Put({Item(Key(1), value), Item(Key(2), value, Key(1))}, 0, absl::InfiniteFuture()).ok());
  const PrefixMatch match = store_->MatchPrefix({Key(1), Key(2)}, absl::InfiniteFuture()).value();
  v1::DeleteRequest request;
  for (uint32_t id : {1, 2, 3}) request.add_keys(RawKey(Key(id)));
  for (bool leased : {true, false}) {
    grpc::ClientContext context;
    v1::DeleteResponse response;
    ASSERT_TRUE(stub_->Delete(&context, request, &response).ok());
    ASSERT_EQ(response.statuses_size(), 3);
    EXPECT_EQ(response.statuses(0).code(), leased ? grpc::StatusCode::FAILED_PRECONDITION : grpc::StatusCode::OK);
    EXPECT_EQ(response.statuses(1).code(), leased ? grpc::StatusCode::FAILED_PRECONDITION : grpc::StatusCode::OK);
    EXPECT_EQ(response.statuses(2).code(), grpc::StatusCode::NOT_FOUND);
    store_->Release(match.lease);
  }
}

TEST_F(KvServerTest, EpochChangesWithEveryStart) {
  const auto epoch = [](v1::KvStoreService::Stub& stub) {
    grpc::ClientContext context;
    v1::StatsResponse response;
    EXPECT_TRUE(stub.Stats(&context, {}, &response).ok());
    return response.epoch();
  };
  const auto second =
      KvServer::Start({.host = "127.0.0.1", .port = 0, .loopback = true}, *store_, clock_, metrics_).value();
  const auto second_stub = v1::KvStoreService::NewStub(
      grpc::CreateChannel(FormatListenAddress(second->address()), grpc::InsecureChannelCredentials()));
  EXPECT_EQ(epoch(*stub_), epoch(*stub_));
  EXPECT_NE(epoch(*stub_), epoch(*second_stub));
}

TEST_F(KvServerTest, WatchersHearWhatLeavesAndThatTheServerStops) {
  grpc::ClientContext context;
  context.set_deadline(In(std::chrono::seconds(60)));
  const auto watch = stub_->Watch(&context, {});
  const auto store = [&](uint32_t id) {
    const std::vector<std::byte> value = Bytes(id, 100);
    ASSERT_TRUE(store_->Put({Item(Key(id), value)}, 0, absl::InfiniteFuture())->front().ok());
  };
  std::atomic<bool> heard{false};  // then the call is open
  std::thread feeder([&] {
    for (uint32_t id = 1; id < 30000 && !heard; ++id) {
      store(id);
      ASSERT_TRUE(store_->Delete({Key(id)}).front().ok());
      absl::SleepFor(absl::Milliseconds(1));
    }
  });
  v1::WatchResponse response;
  ASSERT_TRUE(watch->Read(&response));
  heard = true;
  feeder.join();
  store(77777);
  ASSERT_TRUE(store_->Delete({Key(77777)}).front().ok());
  while (response.removed(response.removed_size() - 1) != RawKey(Key(77777))) {
    ASSERT_TRUE(watch->Read(&response));
    ASSERT_EQ(response.unnamed(), 0u);
  }
  server_->Stop(absl::Seconds(1));
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(KvServerTest, WatchersAreFewAndMayLeaveAtAnyTime) {
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchResponse>>> watches;
  const auto open = [&] {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    contexts.back()->set_deadline(In(std::chrono::seconds(60)));
    watches.push_back(stub_->Watch(contexts.back().get(), {}));
  };
  for (size_t i = 0; i <= WatchHub::kMaxWatchers; ++i) open();
  // One of them is one too many, whichever came last.
  size_t refused = 0;
  std::vector<std::thread> readers;
  absl::Mutex mutex;
  for (const auto& watch : watches) {
    readers.emplace_back([&, reader = watch.get()] {
      v1::WatchResponse heard;
      EXPECT_FALSE(reader->Read(&heard));
      const grpc::StatusCode code = reader->Finish().error_code();
      absl::MutexLock lock(&mutex);
      if (code == grpc::StatusCode::RESOURCE_EXHAUSTED) {
        ++refused;
        for (const auto& context : contexts) context->TryCancel();
      } else {
        EXPECT_EQ(code, grpc::StatusCode::CANCELLED);
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(refused, 1u);
}

TEST_F(KvServerTest, NobodyAttachesOverTcp) {
  grpc::ClientContext context;
  context.set_deadline(In(std::chrono::seconds(30)));
  v1::AttachResponse response;
  const grpc::Status status = stub_->Attach(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("unix:PATH"));
}

}  // namespace
}  // namespace slimfill::kvstore
