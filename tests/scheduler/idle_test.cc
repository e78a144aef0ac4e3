// What the engine thread does when there is no request.
#include <algorithm>

#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_scene.h"

namespace slimfill::scheduler {
namespace {

using Outcome = EngineLoop::Outcome;

constexpr absl::Duration kDelay = absl::Seconds(1), kIdleChunk = absl::Milliseconds(100);

SchedulerOptions Share(double share) { return {.idle_share = share, .idle_delay = kDelay}; }

TEST(IdleTest, IdleWorkBeginsSomeTimeAfterTheLastRequestAndLeavesItsShareOfTime) {
  SteppedScheduler scene(Share(0.25), DenseEngine());
  scene.engine.AddIdleChunks(2);
  EXPECT_EQ(scene.loop.RunOnce(), Outcome::kIdle);
  EXPECT_EQ(scene.loop.IdleTime(), absl::InfiniteDuration()) << "nothing was asked yet";
  scene.Submit(1, 100, /*max_tokens=*/1);
  scene.RunUntilIdle();
  EXPECT_EQ(scene.Order(), "1");
  EXPECT_EQ(scene.loop.IdleTime(), kDelay);
  scene.clock.Advance(kDelay - absl::Milliseconds(1));
  EXPECT_EQ(scene.loop.RunOnce(), Outcome::kIdle);
  scene.clock.Advance(absl::Milliseconds(1));
  EXPECT_EQ(scene.loop.RunOnce(), Outcome::kWorked);
  EXPECT_EQ(scene.Order(), "1 ~");
  EXPECT_EQ(scene.loop.RunOnce(), Outcome::kIdle);
  EXPECT_EQ(scene.loop.IdleTime(), 3 * kIdleChunk) << "a quarter of the time is for idle work";
  scene.clock.Advance(3 * kIdleChunk);
  EXPECT_EQ(scene.loop.RunOnce(), Outcome::kWorked);
  scene.clock.Advance(3 * kIdleChunk);
  EXPECT_EQ(scene.loop.RunOnce(), Outcome::kIdle);
  EXPECT_EQ(scene.Order(), "1 ~ ~");
  EXPECT_EQ(scene.loop.IdleTime(), absl::InfiniteDuration()) << "there is nothing left to do";
}

TEST(IdleTest, ARequestWaitsForOneIdleChunkAtMost) {
  SteppedScheduler scene(Share(1), DenseEngine());
  scene.engine.AddIdleChunks(100);
  scene.Submit(1, 100, /*max_tokens=*/1);
  scene.RunUntilIdle();
  scene.clock.Advance(kDelay);
  std::shared_ptr<RecordingSink> sink;
  scene.engine.OnCall([&] {
    if (sink == nullptr && scene.Order() == "1 ~ ~") sink = scene.Submit(2, 100, /*max_tokens=*/1).sink;
  });
  while (sink == nullptr || !sink->has_ended()) ASSERT_EQ(scene.loop.RunOnce(), Outcome::kWorked);
  EXPECT_EQ(scene.Order(), "1 ~ ~ 2");
  EXPECT_EQ(scene.loop.RunOnce(), Outcome::kIdle) << "the pause after a request begins anew";
  EXPECT_EQ(scene.loop.IdleTime(), kDelay);
}

TEST(IdleTest, AShareOfNothingDoesNothing) {
  SteppedScheduler scene(Share(0), DenseEngine());
  scene.engine.AddIdleChunks(1);
  scene.Submit(1, 100, /*max_tokens=*/1);
  scene.RunUntilIdle();
  scene.clock.Advance(absl::Hours(1));
  EXPECT_EQ(scene.loop.RunOnce(), Outcome::kIdle);
  EXPECT_EQ(scene.Order(), "1");
}

TEST(IdleTest, TheSchedulersThreadWakesForIdleWork) {
  SystemClock clock;
  FakeClock engine_clock;
  Metrics metrics;
  test::FakeEngine engine(engine_clock);
  engine.AddIdleChunks(3);
  const auto scheduler =
      Scheduler::Create({.idle_share = 1, .idle_delay = absl::Milliseconds(1)}, engine, clock, metrics);
  auto sink = std::make_shared<RecordingSink>(clock);
  Request request{.arrival = clock.Now()};
  request.sequence.prompt = {1, 2, 3};
  request.sequence.sampling.max_tokens = 1;
  ASSERT_TRUE(scheduler->Submit(std::move(request), sink).ok());
  const auto idle_chunks = [&] {
    const std::vector<test::FakeCall> calls = engine.calls();
    return std::count_if(calls.begin(), calls.end(), [](const auto& call) { return call.keys.empty(); });
  };
  while (idle_chunks() < 3) absl::SleepFor(absl::Milliseconds(1));
}

}  // namespace
}  // namespace slimfill::scheduler
