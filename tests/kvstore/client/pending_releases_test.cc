#include "kvstore/client/pending_releases.h"

#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

// With it in its hands a thread of gRPC takes its time to forget a callback that has run.
std::shared_ptr<void> SlowToGo() {
  return {nullptr, [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(50)); }};
}

// A process's last channel joins gRPC's threads: none of them may be the one to let go of it.
TEST(PendingReleases, HoldNoChannelOnceTheyHaveEnded) {
  // Nobody listens there: the call ends at once, on a thread of gRPC.
  const std::shared_ptr<grpc::Channel> channel =
      grpc::CreateChannel("unix:/nonexistent/slimfill", grpc::InsecureChannelCredentials());
  const auto stub = v1::KvStoreService::NewStub(channel);
  const long held_by_us = channel.use_count();
  bool ended = false;
  {
    PendingReleases releases(1);
    releases.Start(*stub, 1, absl::Seconds(30), [&ended, slow_to_go = SlowToGo()](const grpc::Status& status) {
      ended = true;
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
    });
  }
  EXPECT_TRUE(ended);
  EXPECT_EQ(channel.use_count(), held_by_us);
}

}  // namespace
}  // namespace slimfill::kvstore
