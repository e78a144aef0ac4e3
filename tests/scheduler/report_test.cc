// What is said about requests: metrics and the log line.
#include <sstream>

#include "base/logging.h"
#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/sinks/ostream_sink.h"
#include "tests/scheduler/scheduler_scene.h"

namespace slimfill::scheduler {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(SchedulerReportTest, LatencyAndTokenMetrics) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  ASSERT_TRUE(scene.Submit(1, 8192, 4).admission.ok());
  scene.RunUntilIdle();
  const Metrics& metrics = scene.metrics;
  EXPECT_EQ(metrics.Value(metric::kQueueSeconds), 1);
  EXPECT_EQ(metrics.Value(metric::kTtft, {"le_16k", "pruned"}), 1);
  EXPECT_EQ(metrics.Value(metric::kPrefillSeconds, {"1"}), 1);
  EXPECT_EQ(metrics.Value(metric::kPrefillSeconds, {"2"}), 1);
  EXPECT_EQ(metrics.Value(metric::kKeptRatio, {"1"}), 1);
  EXPECT_THAT(metrics.ScrapeText(), HasSubstr("slimfill_kept_token_ratio_sum{stage=\"1\"} 0.25"));
  EXPECT_EQ(metrics.Value(metric::kKeptRatio, {"2"}), 0);
  EXPECT_EQ(metrics.Value(metric::kInterToken), 3);
  EXPECT_EQ(metrics.Value(metric::kEndToEnd), 1);
  EXPECT_EQ(metrics.Value(metric::kGeneratedTokens), 4);
  EXPECT_EQ(metrics.Value(metric::kPromptTokens, {"computed"}), 8192);
}

TEST(SchedulerReportTest, HotPromptsAreAModeOfTheirOwnAndSayNothingOfPruning) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  scene.engine.Script(2, {.cached_tokens = 8000, .hot = true});
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(scene.Submit(1, 8192, 1).admission.ok());
  scene.RunUntilIdle();
  const double speedup = scene.metrics.Value(metric::kSpeedup, {"model"});
  ASSERT_GT(speedup, 1);
  ASSERT_TRUE(scene.Submit(2, 8192, 1).admission.ok());
  scene.RunUntilIdle();
  EXPECT_EQ(scene.metrics.Value(metric::kTtft, {"le_16k", "hot"}), 1);
  EXPECT_EQ(scene.metrics.Value(metric::kTtft, {"le_16k", "dense"}), 0);
  EXPECT_EQ(scene.metrics.Value(metric::kSpeedup, {"model"}), speedup);
}

TEST(SchedulerReportTest, FallbacksAreCountedByReason) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  scene.engine.Script(1, {.fallbacks = {"low_peak"}});
  ASSERT_TRUE(scene.Submit(1, 8192, 1).admission.ok());
  scene.RunUntilIdle();
  EXPECT_EQ(scene.metrics.Value(metric::kPruningFallback, {"low_peak"}), 1);
}

// Runs `body` and returns what was logged.
template <typename Body>
std::string LogOf(Body body) {
  std::ostringstream out;
  auto before = spdlog::default_logger();
  auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
  logger->set_pattern("%l %v");
  spdlog::set_default_logger(logger);
  body();
  spdlog::set_default_logger(before);
  return out.str();
}

TEST(SchedulerReportTest, OneLogLineARequest) {
  SteppedScheduler scene({.randomized_dense_share = 0});
  const std::string log = LogOf([&] {
    Request request = MakeRequest(scene.clock, 1, 8192, 4);
    request.trace_id = "0af7651916cd43dd8448eb211c80319c";
    ASSERT_TRUE(scene.Submit(std::move(request)).admission.ok());
    scene.RunUntilIdle();
  });
  EXPECT_THAT(log, StartsWith("info request id=1 method=Generate trace=0af7651916cd43dd8448eb211c80319c outcome=OK "
                              "prompt_tokens=8192 cached_tokens=0 output_tokens=4 kept=2048 queue_ms=0 prefill_ms="));
  EXPECT_THAT(log, HasSubstr(" served_by=cold\n"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1);
}

TEST(SchedulerReportTest, LogLineCannotBeForgedThroughTheTraceId) {
  SteppedScheduler scene;
  const std::string log = LogOf([&] {
    Request request = MakeRequest(scene.clock, 1, 100, 1);
    request.trace_id = "x outcome=OK\nrequest id=2" + std::string(1000, 'y');
    ASSERT_TRUE(scene.Submit(std::move(request)).admission.ok());
    scene.RunUntilIdle();
  });
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1);
  EXPECT_THAT(log, HasSubstr("trace=x_outcome_OK_request_id_2"));
  EXPECT_LT(log.size(), 500u);
}

TEST(SchedulerReportTest, InternalErrorsAreLoggedWithTheirText) {
  SteppedScheduler scene;
  scene.engine.Script(1, {.fail_at_chunk = 0, .failure = absl::InternalError("kernel \"x\"\nfailed")});
  const std::string log = LogOf([&] {
    ASSERT_TRUE(scene.Submit(1, 100).admission.ok());
    scene.RunUntilIdle();
  });
  EXPECT_THAT(log, StartsWith("error request id=1 "));
  EXPECT_THAT(log, HasSubstr("outcome=INTERNAL"));
  EXPECT_THAT(log, HasSubstr(R"(error="kernel \"x\"\nfailed")"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1);
}

}  // namespace
}  // namespace slimfill::scheduler
