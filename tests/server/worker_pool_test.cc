#include "server/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>

#include "absl/synchronization/notification.h"

namespace slimfill::server {
namespace {

TEST(WorkerPool, RunsEverythingBeforeItEnds) {
  std::atomic<int> ran{0};
  {
    WorkerPool pool(2, 1000, 1000);
    for (int i = 0; i < 500; ++i) EXPECT_TRUE(pool.TryPost(1, [&] { ++ran; }));
  }
  EXPECT_EQ(ran, 500);
}

class HeldPool : public ::testing::Test {
 protected:
  HeldPool() {
    absl::Notification started;
    EXPECT_TRUE(pool_.TryPost(0, [&] {
      started.Notify();
      release_.WaitForNotification();
    }));
    started.WaitForNotification();
  }
  ~HeldPool() override { release_.Notify(); }

  absl::Notification release_;
  WorkerPool pool_{1, /*max_jobs=*/2, /*max_bytes=*/100};
};

TEST_F(HeldPool, RefusesJobsBeyondTheirNumber) {
  EXPECT_TRUE(pool_.TryPost(1, [] {}));
  EXPECT_TRUE(pool_.TryPost(1, [] {}));
  EXPECT_FALSE(pool_.TryPost(1, [] { ADD_FAILURE(); }));
}

TEST_F(HeldPool, RefusesJobsBeyondTheirBytes) {
  EXPECT_TRUE(pool_.TryPost(60, [] {}));
  EXPECT_FALSE(pool_.TryPost(41, [] { ADD_FAILURE(); }));
  EXPECT_TRUE(pool_.TryPost(40, [] {}));
}

TEST_F(HeldPool, AnEmptyQueueTakesAJobOfAnySize) {
  EXPECT_TRUE(pool_.TryPost(1'000'000, [] {}));
}

TEST_F(HeldPool, PostIgnoresTheBound) {
  std::atomic<int> ran{0};
  for (int i = 0; i < 3; ++i) pool_.TryPost(1, [] {});
  pool_.Post([] {});
}

}  // namespace
}  // namespace slimfill::server
