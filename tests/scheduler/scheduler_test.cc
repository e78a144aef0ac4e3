// What requests see of the scheduler, stepped by hand with exact times.
#include "scheduler/scheduler.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_scene.h"

namespace slimfill::scheduler {
namespace {

TEST(SchedulerTest, RunsARequestToItsEnd) {
  SteppedScheduler scene;
  const auto request = scene.Submit(7, 1000);
  ASSERT_TRUE(request.admission.ok());
  scene.RunUntilIdle();
  EXPECT_TRUE(request.sink->legal());
  ASSERT_TRUE(request.sink->finished().has_value());
  EXPECT_EQ(request.sink->finished()->output_tokens, 4);
}

}  // namespace
}  // namespace slimfill::scheduler
