#include "base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill {
namespace {

using ::testing::Each;

class ThreadPoolTest : public ::testing::TestWithParam<int> {
 protected:
  // How often each index of a job was run.
  std::vector<int> Run(int64_t count) {
    std::vector<std::atomic<int>> runs(count);
    pool_.ParallelFor(count, [&](int64_t index, int worker) {
      EXPECT_GE(worker, 0);
      EXPECT_LT(worker, pool_.threads());
      runs[index].fetch_add(1);
    });
    return {runs.begin(), runs.end()};
  }

  ThreadPool pool_{GetParam()};
};

TEST_P(ThreadPoolTest, RunsEveryIndexOnce) {
  EXPECT_EQ(pool_.threads(), GetParam());
  for (const int64_t count : {0, 1, 2, 7, 1000}) EXPECT_THAT(Run(count), Each(1)) << count;
}

TEST_P(ThreadPoolTest, TinyJobsFollowEachOtherWithoutLosingAny) {
  std::atomic<int64_t> sum = 0;
  for (int job = 0; job < 4000; ++job) {
    pool_.ParallelFor(3, [&](int64_t index, int) { sum.fetch_add(index); });
  }
  EXPECT_EQ(sum, 4000 * 3);
}

TEST_P(ThreadPoolTest, WorkersThatWentToSleepWakeUp) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(Run(50), Each(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // longer than anyone looks for work
  }
}

TEST_P(ThreadPoolTest, CallerThatWentToSleepWakesUp) {
  std::atomic<int> done = 0;
  pool_.ParallelFor(pool_.threads(), [&](int64_t index, int) {
    if (index > 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    done.fetch_add(1);
  });
  EXPECT_EQ(done, pool_.threads());
}

TEST_P(ThreadPoolTest, CallersTakeTurns) {
  std::atomic<int64_t> sum = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int job = 0; job < 500; ++job) {
        pool_.ParallelFor(4, [&](int64_t, int) { sum.fetch_add(1); });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 4 * 500 * 4);
}

TEST_P(ThreadPoolTest, CanGoWithoutEverHavingWorked) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(GetParam());
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, ::testing::Values(1, 2, 5),
                         [](const auto& info) { return std::to_string(info.param); });

}  // namespace
}  // namespace slimfill
