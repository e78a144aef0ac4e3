// Random schedules on one thread with exact times: arrivals, cancellations, deadlines, failures, short pages, drains
// and stops, and what must hold in every one of them.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <random>

#include "base/logging.h"
#include "base/metric_names.h"
#include "gtest/gtest.h"
#include "tests/scheduler/scheduler_scene.h"

namespace slimfill::scheduler {
namespace {

using test::FakeCall;

// One request of a schedule and what became of it.
struct Planned {
  engine::TokenId key = 0;
  int64_t tokens = 0;
  int max_tokens = 0;
  int priority = 0;
  absl::Time deadline = absl::InfiniteFuture();
  bool scripted = false;  // short starts or failures: exempt from the order of starts

  bool submitted = false;
  absl::Status refused;
  RequestId id = 0;
  std::shared_ptr<RecordingSink> sink;
  absl::Time cancelled = absl::InfiniteFuture();
  int passed_over = 0;  // see CheckTurns
  int most_passed_over = 0;

  bool admitted() const { return submitted && refused.ok(); }
  bool waits_for_first_token() const { return admitted() && !sink->has_ended() && sink->token_times().empty(); }
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed), scene_(RandomOptions(seed), RandomEngine()) {
    MakeRequests();
    if (Chance(0.15)) At(RandomTime(), [this] { scene_.intake.Drain(scene_.clock.Now()); });
    if (Chance(0.1)) At(RandomTime(), [this] { Stop(); });
    scene_.engine.OnCall([this] {
      CheckTurns();
      FireDueEvents();
    });
  }

  void Run() {
    for (;;) {
      FireDueEvents();
      const EngineLoop::Outcome outcome = scene_.loop.RunOnce();
      if (outcome == EngineLoop::Outcome::kWorked) continue;
      CheckNothingIsHeld();
      if (events_.empty()) break;
      scene_.clock.Advance(std::max(absl::ZeroDuration(), events_.begin()->first - scene_.clock.Now()));
    }
    EXPECT_TRUE(scene_.intake.Drain(scene_.clock.Now()));
    for (const Planned& request : requests_) CheckRequest(request);
    CheckCalls();
    CheckOrderOfStarts();
  }

  int64_t admitted() const {
    return std::count_if(requests_.begin(), requests_.end(), [](const Planned& r) { return r.admitted(); });
  }
  int64_t Ended(absl::StatusCode code) const {
    return std::count_if(requests_.begin(), requests_.end(),
                         [&](const Planned& r) { return r.admitted() && r.sink->failed().code() == code; });
  }

 private:
  bool Chance(double probability) { return std::uniform_real_distribution<double>(0, 1)(random_) < probability; }
  int64_t Draw(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }
  absl::Time RandomTime() { return absl::UnixEpoch() + absl::Milliseconds(Draw(0, 4000)); }

  SchedulerOptions RandomOptions(uint64_t seed) {
    SchedulerOptions options;
    options.max_running = static_cast<int>(Draw(1, 6));
    options.max_queued_requests = Chance(0.2) ? Draw(1, 5) : 256;
    options.randomized_dense_share = Chance(0.5) ? 0.2 : 0;
    options.seed = seed;
    return options;
  }
  test::FakeEngineOptions RandomEngine() {
    test::FakeEngineOptions options;
    options.keep = Chance(0.5) ? 1 : 0.25;
    if (Chance(0.5)) options.pages_total = Draw(60, 400);
    if (Chance(0.3)) options.start_time = absl::Milliseconds(5);
    return options;
  }

  void MakeRequests() {
    requests_.resize(Draw(3, 40));
    for (size_t i = 0; i < requests_.size(); ++i) {
      Planned& request = requests_[i];
      request.key = static_cast<int>(i) + 1;
      // A few fixed sizes, so that there are equals to compare.
      request.tokens =
          Chance(0.5) ? 100 << Draw(0, 6) : std::llround(std::exp2(static_cast<double>(Draw(0, 1300)) / 100));
      request.max_tokens = Chance(0.5) ? 8 : static_cast<int>(Draw(1, 60));
      request.priority = Chance(0.2) ? static_cast<int>(Draw(-1, 2)) : 0;
      const absl::Time arrival = RandomTime();
      if (Chance(0.2)) request.deadline = arrival + absl::Milliseconds(Draw(0, 3000));
      if (Chance(0.2)) Misbehave(request);
      At(arrival, [this, &request] { Submit(request); });
      if (Chance(0.2)) At(arrival + absl::Milliseconds(Draw(0, 2000)), [this, &request] { Cancel(request); });
    }
  }
  void Misbehave(Planned& request) {
    test::FakeScript script;
    request.scripted = true;
    switch (Draw(0, 4)) {
      case 0:
        script.start = absl::InternalError("scripted");
        break;
      case 1:
        script.short_starts = static_cast<int>(Draw(1, 3));
        break;
      case 2:
        script.fail_at_chunk = static_cast<int>(Draw(0, 3));
        break;
      case 3:
        script.fail_at_token = static_cast<int>(Draw(1, 5));
        break;
      case 4:
        script.no_first_token = true;
        break;
    }
    scene_.engine.Script(request.key, script);
  }

  void At(absl::Time time, std::function<void()> event) { events_.emplace(time, std::move(event)); }
  void FireDueEvents() {
    while (!events_.empty() && events_.begin()->first <= scene_.clock.Now()) {
      const std::function<void()> event = std::move(events_.begin()->second);
      events_.erase(events_.begin());
      event();
    }
  }
  void Submit(Planned& request) {
    Request submitted = MakeRequest(scene_.clock, request.key, request.tokens, request.max_tokens);
    submitted.priority = request.priority;
    submitted.deadline = request.deadline;
    auto result = scene_.Submit(std::move(submitted));
    request.submitted = true;
    request.refused = result.admission.status();
    request.sink = result.sink;
    if (result.admission.ok()) request.id = result.id();
    if (stopped_) {
      EXPECT_EQ(request.refused.code(), absl::StatusCode::kUnavailable);
    }
  }
  void Cancel(Planned& request) {
    if (!request.admitted()) return;
    request.cancelled = scene_.clock.Now();
    scene_.intake.Cancel(request.id);
  }
  void Stop() {
    stopped_ = true;
    scene_.intake.Stop();
  }

  // After every chunk, before the scheduler has seen its result: whoever is first in line waited for a bounded number
  // of chunks since its own last one.
  void CheckTurns() {
    const FakeCall call = scene_.engine.calls().back();
    if (call.kind != FakeCall::Kind::kChunk) return;
    Planned& ran = requests_[call.keys.front() - 1];
    Planned* first = &ran;
    for (Planned& request : requests_) {
      if (request.waits_for_first_token() && RanksAbove(RankOf(request), RankOf(*first))) first = &request;
    }
    ran.passed_over = 0;
    if (first == &ran) return;
    ++first->passed_over;
    if (first->sink->started()) {
      EXPECT_LE(first->passed_over, kChunksBeforeTurn) << first->key;
    }
    first->most_passed_over = std::max(first->most_passed_over, first->passed_over);
  }
  static Rank RankOf(const Planned& request) { return {request.priority, request.id}; }

  void CheckNothingIsHeld() {
    EXPECT_EQ(scene_.engine.live_sequences(), 0);
    EXPECT_EQ(scene_.engine.pages_used(), 0);
    EXPECT_EQ(scene_.intake.snapshot().queued, 0);
    EXPECT_EQ(scene_.intake.snapshot().running, 0);
    EXPECT_EQ(scene_.intake.snapshot().queued_prompt_tokens, 0);
    EXPECT_EQ(scene_.metrics.Value(metric::kRequestsWaiting), 0);
    EXPECT_EQ(scene_.metrics.Value(metric::kRequestsRunning), 0);
    EXPECT_LE(scene_.engine.max_live_sequences(), scene_.options.max_running);
  }

  void CheckRequest(const Planned& request) {
    ASSERT_TRUE(request.submitted);
    EXPECT_TRUE(request.sink->legal());
    if (!request.refused.ok()) {
      EXPECT_FALSE(request.sink->started() || request.sink->has_ended());
      return;
    }
    ASSERT_TRUE(request.sink->has_ended());
    EXPECT_EQ(request.sink.use_count(), 1);  // the scheduler let go of it
    if (request.sink->end_time() > request.cancelled) ADD_FAILURE() << "ran on after Cancel: " << request.key;
    if (!request.sink->started()) return;
    // Others' prefills may go on while a request waits for a slot or pages, but no new ones for ever.
    EXPECT_LE(request.most_passed_over, kChunksBeforeReservation + 40 * scene_.options.max_running) << request.key;
    if (!request.sink->finished().has_value()) return;
    const Finished finished = *request.sink->finished();
    EXPECT_EQ(finished.output_tokens, request.max_tokens);
    EXPECT_EQ(finished.timings.queue + finished.timings.prefill, finished.timings.ttft);
    EXPECT_LE(finished.timings.ttft, finished.timings.total);
  }

  // No work on a request after its deadline or cancellation.
  void CheckCalls() {
    for (const FakeCall& call : scene_.engine.calls()) {
      for (engine::TokenId key : call.keys) {
        const Planned& request = requests_[key - 1];
        EXPECT_LT(call.begin, request.deadline) << key;
        EXPECT_LE(call.begin, request.cancelled) << key;
      }
    }
  }

  // Of two requests that differ in nothing but arrival the later one never starts first.
  void CheckOrderOfStarts() {
    std::map<engine::TokenId, size_t> started;  // by key: when
    const std::vector<FakeCall> calls = scene_.engine.calls();
    for (size_t i = 0; i < calls.size(); ++i) {
      if (calls[i].kind == FakeCall::Kind::kStart) started[calls[i].keys.front()] = i;
    }
    for (const Planned& early : requests_) {
      for (const Planned& late : requests_) {
        if (!early.admitted() || !late.admitted() || early.scripted || late.scripted) continue;
        if (early.id >= late.id || early.tokens != late.tokens || early.max_tokens != late.max_tokens ||
            early.priority != late.priority || !started.contains(late.key)) {
          continue;
        }
        const bool in_order = started.contains(early.key) ? started[early.key] < started[late.key]
                                                          : early.sink->end_time() <= calls[started[late.key]].begin;
        EXPECT_TRUE(in_order) << early.key << " and " << late.key;
      }
    }
  }

  std::mt19937_64 random_;
  SteppedScheduler scene_;
  std::vector<Planned> requests_;
  std::multimap<absl::Time, std::function<void()>> events_;
  bool stopped_ = false;
};

TEST(SchedulerSimulationTest, InvariantsHoldInRandomSchedules) {
  const auto level = spdlog::get_level();
  spdlog::set_level(spdlog::level::off);
  constexpr int kSchedules = 1500;
  std::map<absl::StatusCode, int64_t> ends;
  int64_t admitted = 0;
  for (uint64_t seed = 0; seed < kSchedules && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Simulation simulation(seed);
    simulation.Run();
    admitted += simulation.admitted();
    for (int code = 0; code <= 16; ++code) {
      ends[static_cast<absl::StatusCode>(code)] += simulation.Ended(static_cast<absl::StatusCode>(code));
    }
  }
  spdlog::set_level(level);
  // The schedules must have been worth running.
  EXPECT_GT(admitted, kSchedules * 10);
  EXPECT_GT(ends[absl::StatusCode::kOk], admitted / 2);
  for (auto code : {absl::StatusCode::kCancelled, absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kInternal,
                    absl::StatusCode::kUnavailable, absl::StatusCode::kResourceExhausted}) {
    EXPECT_GT(ends[code], 50) << absl::StatusCodeToString(code);
  }
}

}  // namespace
}  // namespace slimfill::scheduler
