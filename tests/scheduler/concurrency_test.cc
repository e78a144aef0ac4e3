// The scheduler with its thread, used from several at once. Meant for ThreadSanitizer as well.
#include <random>
#include <thread>

#include "absl/synchronization/notification.h"
#include "base/logging.h"
#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_scene.h"

namespace slimfill::scheduler {
namespace {

class SchedulerConcurrencyTest : public ::testing::Test {
 protected:
  void SetUp() override { spdlog::set_level(spdlog::level::off); }
  void TearDown() override { spdlog::set_level(spdlog::level::info); }

  struct Submitted {
    absl::StatusOr<Admission> admission;
    std::shared_ptr<RecordingSink> sink;
  };
  Submitted Submit(Scheduler& scheduler, int64_t tokens, int max_tokens, engine::TokenId key = 1) {
    auto sink = std::make_shared<RecordingSink>(clock_);
    auto admission = scheduler.Submit(MakeRequest(clock_, key, tokens, max_tokens), sink);
    return {std::move(admission), std::move(sink)};
  }

  // Submits, cancels and looks around, as a client that is in a hurry.
  std::vector<std::shared_ptr<RecordingSink>> RunClient(Scheduler& scheduler, int seed) {
    std::mt19937 random(seed);
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (int i = 0; i < 200; ++i) {
      Request request = MakeRequest(clock_, static_cast<int>(random() % 8) + 1, 1 + random() % 3000, 1 + random() % 8);
      request.priority = static_cast<int>(random() % 3);
      if (random() % 4 == 0) request.deadline = request.arrival + absl::Milliseconds(random() % 5000);
      auto sink = std::make_shared<RecordingSink>(clock_);
      const absl::StatusOr<Admission> admission = scheduler.Submit(std::move(request), sink);
      if (admission.ok()) {
        sinks.push_back(sink);
        if (random() % 4 == 0) scheduler.Cancel(admission->id);
      } else {
        EXPECT_FALSE(sink->has_ended());
      }
      if (random() % 16 == 0 && !sinks.empty()) sinks.back()->WaitUntilEnded();
      EXPECT_GE(scheduler.snapshot().queued, 0);
    }
    return sinks;
  }

  FakeClock clock_;
  Metrics metrics_;
};

TEST_F(SchedulerConcurrencyTest, EveryRequestEndsOnceWhateverTheClientsDo) {
  test::FakeEngine engine(clock_, {.pages_total = 100});
  engine.Script(3, {.fail_at_token = 2});
  engine.Script(4, {.fail_at_chunk = 1});
  auto scheduler = Scheduler::Create({.max_queued_requests = 100, .max_running = 4}, engine, clock_, metrics_);
  std::vector<std::vector<std::shared_ptr<RecordingSink>>> sinks(4);
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) clients.emplace_back([&, i] { sinks[i] = RunClient(*scheduler, i); });
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(scheduler->Drain(absl::InfiniteFuture()));

  size_t admitted = 0;
  for (const auto& of_client : sinks) {
    admitted += of_client.size();
    for (const auto& sink : of_client) {
      EXPECT_TRUE(sink->has_ended());
      EXPECT_TRUE(sink->legal());
    }
  }
  EXPECT_GT(admitted, 100u);
  EXPECT_EQ(scheduler->snapshot().finished, static_cast<int64_t>(admitted));
  EXPECT_EQ(scheduler->snapshot().queued, 0);
  EXPECT_EQ(scheduler->snapshot().running, 0);
  EXPECT_EQ(engine.live_sequences(), 0);
}

TEST_F(SchedulerConcurrencyTest, DestructionEndsWhatIsLeft) {
  for (int round = 0; round < 50; ++round) {
    test::FakeEngine engine(clock_, {.max_context = int64_t{1} << 40, .pages_total = int64_t{1} << 40});
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    {
      auto scheduler = Scheduler::Create({}, engine, clock_, metrics_);
      // However slowly this thread gets on, some generate for longer than it lives.
      for (int i = 0; i < 20; ++i) sinks.push_back(Submit(*scheduler, 10000, i % 2 == 0 ? 100 : 1 << 30).sink);
    }
    int unavailable = 0;
    for (const auto& sink : sinks) {
      EXPECT_TRUE(sink->has_ended());
      EXPECT_TRUE(sink->legal());
      unavailable += absl::IsUnavailable(sink->failed());
    }
    EXPECT_GT(unavailable, 0);
    EXPECT_EQ(engine.live_sequences(), 0);
  }
}

TEST_F(SchedulerConcurrencyTest, IdleSchedulerWakesForEachRequest) {
  test::FakeEngine engine(clock_);
  auto scheduler = Scheduler::Create({}, engine, clock_, metrics_);
  for (int i = 0; i < 100; ++i) {
    const Submitted request = Submit(*scheduler, 100, 2);
    ASSERT_TRUE(request.admission.ok());
    request.sink->WaitUntilEnded();
    EXPECT_TRUE(request.sink->finished().has_value());
  }
}

TEST_F(SchedulerConcurrencyTest, DrainGivesUpAtItsDeadlineAndCanBeRepeated) {
  test::FakeEngine engine(clock_);
  absl::Notification in_second, go_on;
  int starts = 0;
  engine.OnCall([&] {
    if (engine.calls().back().kind != test::FakeCall::Kind::kStart || ++starts != 2) return;
    in_second.Notify();
    go_on.WaitForNotification();
  });
  auto scheduler = Scheduler::Create({}, engine, clock_, metrics_);
  const Submitted first = Submit(*scheduler, 100, 1), second = Submit(*scheduler, 100, 1, 2);
  in_second.WaitForNotification();
  EXPECT_FALSE(scheduler->Drain(clock_.Now()));
  EXPECT_TRUE(first.sink->has_ended());
  EXPECT_FALSE(second.sink->has_ended());
  EXPECT_TRUE(absl::IsUnavailable(Submit(*scheduler, 100, 1).admission.status()));
  go_on.Notify();
  EXPECT_TRUE(scheduler->Drain(absl::InfiniteFuture()));
  EXPECT_TRUE(second.sink->finished().has_value());
}

}  // namespace
}  // namespace slimfill::scheduler
