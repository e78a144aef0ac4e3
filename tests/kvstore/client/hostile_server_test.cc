// What the client makes of a server that lies, cuts streams short, talks too much or says nothing.
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "kvstore/api/checksum.h"
#include "kvstore/client/grpc_kv_store.h"
#include "slimfill/v1/kvstore.grpc.pb.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;
using ::testing::Each;

using FetchWriter = grpc::ServerWriter<v1::FetchResponse>;

// Answers as the test tells it.
class ScriptedService final : public v1::KvStoreService::Service {
 public:
  std::function<grpc::Status(FetchWriter&)> fetch;
  std::function<void(v1::MatchPrefixResponse&)> match;
  std::atomic<bool> hangs_on_put = false;
  absl::Notification released;  // ends hanging calls

 private:
  grpc::Status Fetch(grpc::ServerContext*, const v1::FetchRequest*, FetchWriter* writer) override {
    return fetch(*writer);
  }
  grpc::Status Put(grpc::ServerContext*, grpc::ServerReader<v1::PutRequest>* reader, v1::PutResponse*) override {
    if (hangs_on_put) released.WaitForNotification();
    v1::PutRequest request;
    while (reader->Read(&request)) {
    }
    return grpc::Status::OK;  // without a status for any block
  }
  grpc::Status MatchPrefix(grpc::ServerContext*, const v1::MatchPrefixRequest*,
                           v1::MatchPrefixResponse* response) override {
    match(*response);
    return grpc::Status::OK;
  }
  grpc::Status OpenPrivate(grpc::ServerContext*, const v1::OpenPrivateRequest*, v1::OpenPrivateResponse*) override {
    return grpc::Status::OK;  // with lease 0
  }
  grpc::Status Stats(grpc::ServerContext*, const v1::StatsRequest*, v1::StatsResponse*) override {
    released.WaitForNotification();
    return grpc::Status::OK;
  }
};

class HostileServerTest : public ::testing::Test {
 protected:
  HostileServerTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    client_ = GrpcKvStore::Create(absl::StrCat("127.0.0.1:", port), {}, clock_, &metrics_).value();
  }
  ~HostileServerTest() override {
    service_.released.Notify();
    client_.reset();
    server_->Shutdown();
  }

  absl::Time Deadline(absl::Duration in = absl::Seconds(30)) { return clock_.Now() + in; }

  absl::StatusOr<std::vector<absl::Status>> Fetch(absl::Duration in = absl::Seconds(30)) {
    a_.assign(1000, std::byte{0});
    b_.assign(1000, std::byte{0});
    return client_->Fetch({Into(Key(1), a_), Into(Key(2), b_)}, 0, Deadline(in));
  }

  static v1::FetchResponse Whole(uint32_t ordinal) {
    v1::FetchResponse response;
    const std::vector<std::byte> value = Bytes(ordinal + 1, 1000);
    v1::Chunk* chunk = response.add_chunks();
    chunk->set_ordinal(ordinal);
    chunk->set_checksum(Checksum(Key(ordinal + 1), 0, value));
    chunk->set_data(value.data(), value.size());
    return response;
  }

  FakeClock clock_;
  Metrics metrics_;
  ScriptedService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<GrpcKvStore> client_;
  std::vector<std::byte> a_, b_;
};

TEST_F(HostileServerTest, FlippedBitCostsOneItem) {
  service_.fetch = [](FetchWriter& writer) {
    v1::FetchResponse bad = Whole(0);
    (*bad.mutable_chunks(0)->mutable_data())[500] ^= 0x20;
    writer.Write(bad);
    writer.Write(Whole(1));
    return grpc::Status::OK;
  };
  const auto statuses = Fetch();
  ASSERT_TRUE(statuses.ok()) << statuses.status();
  EXPECT_EQ((*statuses)[0].code(), Code::kDataLoss);
  EXPECT_TRUE((*statuses)[1].ok());
  EXPECT_EQ(b_, Bytes(2, 1000));
  EXPECT_EQ(metrics_.Value(metric::kKvStoreErrors, {"fetch"}), 2) << "and once more when it was asked for again";
}

TEST_F(HostileServerTest, StreamThatEndsEarlyCostsTheRest) {
  service_.fetch = [](FetchWriter& writer) {
    writer.Write(Whole(0));
    return grpc::Status::OK;
  };
  const auto statuses = Fetch();
  ASSERT_TRUE(statuses.ok()) << statuses.status();
  EXPECT_TRUE((*statuses)[0].ok());
  EXPECT_EQ((*statuses)[1].code(), Code::kDataLoss);
}

TEST_F(HostileServerTest, StreamThatBreaksKeepsWhatHadArrived) {
  service_.fetch = [](FetchWriter& writer) {
    writer.Write(Whole(0));
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
  };
  const auto statuses = Fetch();
  ASSERT_TRUE(statuses.ok()) << statuses.status();
  EXPECT_TRUE((*statuses)[0].ok());
  EXPECT_EQ(a_, Bytes(1, 1000));
  EXPECT_EQ((*statuses)[1].code(), Code::kUnavailable);
}

TEST_F(HostileServerTest, StreamWithoutAnythingFailsTheCall) {
  service_.fetch = [](FetchWriter&) { return grpc::Status::OK; };
  EXPECT_EQ(Fetch().status().code(), Code::kDataLoss);
}

TEST_F(HostileServerTest, EndlessStreamIsCutOff) {
  service_.fetch = [](FetchWriter& writer) {
    while (writer.Write(Whole(0))) {  // ends when the client cancels
    }
    return grpc::Status::OK;
  };
  const auto statuses = Fetch();
  ASSERT_TRUE(statuses.ok()) << statuses.status();
  EXPECT_TRUE((*statuses)[0].ok());
  EXPECT_EQ((*statuses)[1].code(), Code::kDataLoss);
}

TEST_F(HostileServerTest, OverlongItemIsRefused) {
  service_.fetch = [](FetchWriter& writer) {
    v1::FetchResponse response = Whole(0);
    response.mutable_chunks(0)->mutable_data()->push_back('x');
    writer.Write(response);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Fetch().status().code(), Code::kDataLoss);
}

TEST_F(HostileServerTest, ThreeBrokenStreamsOpenTheBreaker) {
  service_.fetch = [](FetchWriter&) { return grpc::Status::OK; };
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Fetch().status().code(), Code::kDataLoss);
  EXPECT_EQ(Fetch().status().code(), Code::kUnavailable);
  EXPECT_EQ(metrics_.Value(metric::kKvStoreUp), 0);
}

TEST_F(HostileServerTest, HungCallsEndAtTheirDeadlineAndThenAreNotTried) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(client_->Stats(Deadline(absl::Milliseconds(50))).status().code(), Code::kDeadlineExceeded);
  }
  EXPECT_EQ(client_->Stats(Deadline()).status().code(), Code::kUnavailable);
}

TEST_F(HostileServerTest, PutThatNobodyReadsEndsAtItsDeadlineAndNeedsItsBytesNoMore) {
  service_.hangs_on_put = true;
  {
    const std::vector<std::byte> value = Bytes(1, 24 << 20);  // more than buffers on the way hold
    const auto statuses = client_->Put({Item(Key(1), value)}, 0, Deadline(absl::Milliseconds(300)));
    EXPECT_EQ(statuses.status().code(), Code::kDeadlineExceeded);
  }
  service_.hangs_on_put = false;
  const std::vector<std::byte> value = Bytes(2, 1000);
  EXPECT_EQ(client_->Put({Item(Key(2), value)}, 0, Deadline()).status().code(), Code::kInternal) << "it answers again";
}

TEST_F(HostileServerTest, StreamThatHangsHalfWayEndsAtItsDeadlineAndKeepsWhatHadArrived) {
  service_.fetch = [this](FetchWriter& writer) {
    writer.Write(Whole(0));
    service_.released.WaitForNotification();
    return grpc::Status::OK;
  };
  const auto statuses = Fetch(absl::Seconds(1));
  ASSERT_TRUE(statuses.ok()) << statuses.status();
  EXPECT_TRUE((*statuses)[0].ok());
  EXPECT_EQ((*statuses)[1].code(), Code::kDeadlineExceeded);
}

TEST_F(HostileServerTest, NonsenseAnswersAreInternalErrors) {
  const std::vector<std::byte> value = Bytes(1, 10);
  EXPECT_EQ(client_->Put({Item(Key(1), value)}, 0, Deadline()).status().code(), Code::kInternal);
  service_.match = [](v1::MatchPrefixResponse& response) {
    response.set_blocks(2);
    response.set_lease(1);
  };
  EXPECT_EQ(client_->MatchPrefix({Key(1)}, Deadline()).status().code(), Code::kInternal);
  EXPECT_EQ(client_->OpenPrivate(Deadline()).status().code(), Code::kInternal);
}

TEST_F(HostileServerTest, UnknownOperationsCountAsFailures) {
  // The scripted server has no Renew: what answers is no KV store.
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client_->Renew(1, Deadline()).code(), Code::kUnimplemented);
  EXPECT_EQ(client_->Renew(1, Deadline()).code(), Code::kUnavailable);
}

}  // namespace
}  // namespace slimfill::kvstore
