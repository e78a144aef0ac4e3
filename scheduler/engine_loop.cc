#include "scheduler/engine_loop.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/metric_names.h"
#include "base/status.h"
#include "scheduler/request_report.h"

namespace slimfill::scheduler {
namespace {

// A client must be able to trust CANCELLED and DEADLINE_EXCEEDED to be about its own call; whatever else an engine says
// of a request that passed validation is an internal error.
absl::Status EngineError(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kInternal:
      return status;
    default:
      return absl::InternalError(status.ToString());
  }
}

absl::Status Late(const RequestState& state, absl::Time now) {
  return absl::DeadlineExceededError(absl::StrCat(
      "the deadline passed in phase ", PhaseName(state.phase), ", ", absl::FormatDuration(now - state.request.arrival),
      " after the request arrived; it allowed ", absl::FormatDuration(state.request.deadline - state.request.arrival)));
}

}  // namespace

EngineLoop::EngineLoop(const SchedulerOptions& options, engine::Engine& engine, Clock& clock, Metrics& metrics,
                       Intake& intake)
    : options_(options), engine_(engine), clock_(clock), metrics_(metrics), intake_(intake), speedup_(metrics) {}

EngineLoop::Outcome EngineLoop::RunOnce() {
  Intake::Batch batch = intake_.Take();
  TakeIn(batch);
  if (batch.stopping) {
    for (auto& state : live_) Fail(*state, absl::UnavailableError("the server is shutting down: try again"));
    live_.clear();
    return Outcome::kStopped;
  }
  EndCancelledAndLate();

  const WorkUnit unit = Plan(StateForPlanner());
  switch (unit.kind) {
    case WorkUnit::Kind::kStart:
      Start(Find(unit.id));
      break;
    case WorkUnit::Kind::kPrefillChunk:
      RunChunk(Find(unit.id));
      break;
    case WorkUnit::Kind::kDecodeStep:
      RunDecodeStep();
      break;
    case WorkUnit::Kind::kIdle:
      SLIMFILL_CHECK(std::all_of(live_.begin(), live_.end(), [](const auto& s) { return s->phase == Phase::kEnded; }));
      break;
  }
  EndAllIfEngineFailed();
  std::erase_if(live_, [](const auto& state) { return state->phase == Phase::kEnded; });
  if (unit.kind == WorkUnit::Kind::kIdle) return RunIdle();
  idle_work_at_ = clock_.Now() + options_.idle_delay;
  return Outcome::kWorked;
}

void EngineLoop::EndAllIfEngineFailed() {
  const absl::Status health = engine_.Health();
  if (health.ok()) return;
  for (auto& state : live_) {
    if (state->phase != Phase::kEnded) Fail(*state, health);
  }
  if (!engine_failed_ && options_.on_engine_failure) options_.on_engine_failure(health);
  engine_failed_ = true;
}

EngineLoop::Outcome EngineLoop::RunIdle() {
  const absl::Time begin = clock_.Now();
  if (options_.idle_share <= 0 || begin < idle_work_at_) return Outcome::kIdle;
  if (!engine_.RunIdleChunk()) {
    idle_work_at_ = absl::InfiniteFuture();
    return Outcome::kIdle;
  }
  const absl::Time end = clock_.Now();
  idle_work_at_ = end + (end - begin) * (1 / std::min(options_.idle_share, 1.0) - 1);
  return Outcome::kWorked;
}

void EngineLoop::TakeIn(Intake::Batch& batch) {
  for (auto& state : batch.arrived) live_.push_back(std::move(state));
  for (RequestId id : batch.cancelled) {
    const auto found = std::find_if(live_.begin(), live_.end(), [id](const auto& state) { return state->id == id; });
    if (found != live_.end()) (*found)->cancelled = true;
  }
}

void EngineLoop::EndCancelledAndLate() {
  const absl::Time now = clock_.Now();
  for (auto& state : live_) {
    if (state->cancelled) {
      Fail(*state, absl::CancelledError(absl::StrCat("cancelled in phase ", PhaseName(state->phase))));
    } else if (state->request.deadline <= now) {
      Fail(*state, Late(*state, now));
    }
  }
}

PlannerState EngineLoop::StateForPlanner() const {
  PlannerState planner;
  planner.max_running = std::max(1, options_.max_running);  // with none, requests would wait for ever
  planner.free_pages = engine_.pages_total();
  planner.decode_due = decode_due_;
  for (const auto& state : live_) {
    if (state->running()) planner.free_pages -= state->pages;
    if (state->phase == Phase::kDecode) ++planner.decoding;
    if (state->phase != Phase::kQueued && state->phase != Phase::kPrefill) continue;
    planner.prefills.push_back({.rank = state->rank(),
                                .started = state->phase == Phase::kPrefill,
                                .remaining_tokens = state->remaining_tokens(),
                                .pages = state->pages,
                                .blocked = state->blocked,
                                .passed_over = state->passed_over});
  }
  return planner;
}

RequestState& EngineLoop::Find(RequestId id) {
  const auto found = std::find_if(live_.begin(), live_.end(), [id](const auto& state) { return state->id == id; });
  SLIMFILL_CHECK(found != live_.end());
  return **found;
}

bool EngineLoop::AnyRunning() const {
  return std::any_of(live_.begin(), live_.end(), [](const auto& state) { return state->running(); });
}

void EngineLoop::Start(RequestState& state) {
  // A copy: when pages are short the request goes on waiting.
  absl::StatusOr<std::unique_ptr<engine::Sequence>> sequence = engine_.Start(state.request.sequence);
  if (!sequence.ok()) {
    if (absl::IsResourceExhausted(sequence.status()) && AnyRunning()) {
      state.blocked = true;
    } else {
      Fail(state, EngineError(sequence.status()));
    }
    return;
  }
  state.sequence = std::move(*sequence);
  state.request.sequence.prompt = {};
  state.phase = Phase::kPrefill;
  state.started = state.last_progress = clock_.Now();
  state.cached_tokens = std::clamp<int64_t>(state.sequence->prefill_report().cached_tokens, 0,
                                            std::max<int64_t>(state.prompt_tokens - 1, 0));
  metrics_.Observe(metric::kQueueSeconds, absl::ToDoubleSeconds(state.timings().queue));
  intake_.NoteStarted(state.id, state.remaining_tokens(), state.remaining_share());
  state.sink->OnStarted(state.cached_tokens);
}

void EngineLoop::RunChunk(RequestState& state) {
  absl::StatusOr<engine::PrefillStep> step = engine_.PrefillChunk(*state.sequence);
  decode_due_ = true;
  for (auto& other : live_) {
    if (RanksAbove(other->rank(), state.rank())) ++other->passed_over;
  }
  state.passed_over = 0;
  if (!step.ok()) {
    Fail(state, EngineError(step.status()));
  } else if (step->done && !step->first_token.has_value()) {
    Fail(state, absl::InternalError("prefill ended without a first token"));
  } else {
    AfterChunk(state, *step);
  }
}

void EngineLoop::AfterChunk(RequestState& state, const engine::PrefillStep& step) {
  state.fraction_done = step.done ? 1 : std::clamp(step.fraction_done, 0.0, 1.0);
  state.compute_seconds += step.compute_seconds;
  state.work += step.work;
  intake_.ObserveChunk(step.work, step.compute_seconds);
  speedup_.SetModelTrusted(intake_.Predict(step.work).trusted);
  intake_.NotePrefill(state.id, step.done ? 0 : state.remaining_tokens(), state.remaining_share());
  if (step.done) {
    FirstToken(state, *step.first_token);
  } else {
    ReportProgress(state, step);
  }
}

void EngineLoop::ReportProgress(RequestState& state, const engine::PrefillStep& step) {
  const absl::Time now = clock_.Now();
  if (step.stage == state.last_stage && now - state.last_progress < options_.progress_interval) return;
  state.last_stage = step.stage;
  state.last_progress = now;
  const double tokens_done = state.fraction_done * static_cast<double>(state.prompt_tokens);
  state.sink->OnProgress({.stage = step.stage,
                          .stages = step.stages,
                          .fraction_done = state.fraction_done,
                          .tokens_done = std::llround(tokens_done),
                          .tokens_total = state.prompt_tokens});
}

void EngineLoop::FirstToken(RequestState& state, const engine::TokenEvent& token) {
  state.phase = Phase::kDecode;
  state.first_token = state.last_token = clock_.Now();
  state.output_tokens = 1;
  ReportFirstToken(state, metrics_);
  metrics_.Add(metric::kGeneratedTokens);
  if (!state.sequence->prefill_report().hot) {  // what it took says nothing about pruning
    speedup_.RecordArm(state.arm, state.prompt_tokens, absl::ToDoubleSeconds(state.timings().ttft));
  }
  state.sink->OnToken(token);
  if (token.finish != engine::FinishReason::kNone) Finish(state, token.finish);
}

void EngineLoop::RunDecodeStep() {
  std::vector<RequestState*> states;
  std::vector<engine::Sequence*> sequences;
  for (auto& state : live_) {
    if (state->phase != Phase::kDecode) continue;
    states.push_back(state.get());
    sequences.push_back(state->sequence.get());
  }
  const std::vector<absl::StatusOr<engine::TokenEvent>> tokens = engine_.DecodeStep(sequences);
  SLIMFILL_CHECK(tokens.size() == states.size());
  decode_due_ = false;
  const absl::Time now = clock_.Now();
  for (size_t i = 0; i < states.size(); ++i) {
    if (tokens[i].ok()) {
      NextToken(*states[i], *tokens[i], now);
    } else {
      Fail(*states[i], EngineError(tokens[i].status()));
    }
  }
}

void EngineLoop::NextToken(RequestState& state, const engine::TokenEvent& token, absl::Time now) {
  metrics_.Observe(metric::kInterToken, std::max(0.0, absl::ToDoubleSeconds(now - state.last_token)));
  metrics_.Add(metric::kGeneratedTokens);
  state.last_token = now;
  ++state.output_tokens;
  state.sink->OnToken(token);
  if (token.finish != engine::FinishReason::kNone) Finish(state, token.finish);
}

void EngineLoop::AddDenseEquivalent(const RequestState& state, Finished& finished) {
  const absl::Duration ttft = finished.timings.ttft;
  if (!state.prefill_report.pruned) {  // measured, not modelled
    finished.dense_equivalent_ttft = ttft;
    if (!state.prefill_report.hot) speedup_.RecordModel(1);
    return;
  }
  // A dense engine would have found the same prefix stored, so the cached part is nobody's gain.
  engine::PrefillWork dense = engine_.EstimateWork(state.prompt_tokens, engine::PruningMode::kOff);
  if (state.cached_tokens > 0) {
    const engine::PrefillWork cached = engine_.EstimateWork(state.cached_tokens, engine::PruningMode::kOff);
    dense.chunks = std::max(0.0, dense.chunks - cached.chunks);
    dense.token_layers = std::max(0.0, dense.token_layers - cached.token_layers);
    dense.pair_layers = std::max(0.0, dense.pair_layers - cached.pair_layers);
  }
  const Intake::CostPrediction own = intake_.Predict(state.work);
  finished.dense_equivalent_error = own.error.value_or(1);
  if (!own.trusted || *own.seconds <= 0 || ttft <= absl::ZeroDuration()) return;
  // The request's own chunks say how fast the machine was for it; all other waiting would have been the same.
  const double dense_seconds = *intake_.Predict(dense).seconds * (state.compute_seconds / *own.seconds);
  finished.dense_equivalent_ttft = ttft + absl::Seconds(dense_seconds - state.compute_seconds);
  speedup_.RecordModel(absl::FDivDuration(*finished.dense_equivalent_ttft, ttft));
}

template <typename Deliver>
void EngineLoop::End(RequestState& state, const absl::Status& outcome, Deliver deliver) {
  const Phase phase = std::exchange(state.phase, Phase::kEnded);
  state.ended = clock_.Now();
  if (state.sequence != nullptr) {
    state.prefill_report = state.sequence->prefill_report();
    state.decode_report = state.sequence->decode_report();
    state.sequence.reset();  // before the client hears of it: the pages are free when it does
    for (auto& other : live_) other->blocked = false;
  }
  ReportEnd(state, phase, outcome, metrics_);
  intake_.BeginTerminal(state.id);
  deliver(*std::exchange(state.sink, nullptr));
  intake_.EndTerminal();
}

void EngineLoop::Finish(RequestState& state, engine::FinishReason reason) {
  End(state, absl::OkStatus(), [&](EventSink& sink) {
    Finished finished;
    finished.reason = reason;
    finished.prompt_tokens = state.prompt_tokens;
    finished.cached_tokens = state.cached_tokens;
    finished.output_tokens = state.output_tokens;
    finished.timings = state.timings();
    finished.prefill = state.prefill_report;
    finished.decode = state.decode_report;
    AddDenseEquivalent(state, finished);
    sink.OnFinished(finished);
  });
}

void EngineLoop::Fail(RequestState& state, const absl::Status& status) {
  End(state, status, [&](EventSink& sink) { sink.OnFailed(status); });
}

}  // namespace slimfill::scheduler
