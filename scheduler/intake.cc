#include "scheduler/intake.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/metric_names.h"
#include "base/status.h"

namespace slimfill::scheduler {
namespace {

engine::PrefillWork Scaled(engine::PrefillWork work, double share) {
  work.chunks *= share;
  work.token_layers *= share;
  work.pair_layers *= share;
  return work;
}

}  // namespace

Intake::Intake(const SchedulerOptions& options, engine::Engine& engine, Clock& clock, Metrics& metrics)
    : options_(options), engine_(engine), clock_(clock), metrics_(metrics), random_(options.seed) {
  absl::MutexLock lock(&mutex_);
  PublishCounts();
}

Intake::Estimate Intake::EstimateFor(engine::SequenceRequest& sequence) const {
  const int64_t tokens = static_cast<int64_t>(sequence.prompt.size());
  const engine::PruningMode mode = sequence.pruning.mode;
  Estimate estimate;
  estimate.work = engine_.EstimateWork(tokens, mode);
  estimate.pages = engine_.PagesNeeded(sequence);
  if (mode != engine::PruningMode::kAuto || sequence.pruning.trace || options_.randomized_dense_share <= 0) {
    return estimate;
  }
  estimate.dense_work = engine_.EstimateWork(tokens, engine::PruningMode::kOff);
  sequence.pruning.mode = engine::PruningMode::kOff;
  estimate.dense_pages = engine_.PagesNeeded(sequence);
  sequence.pruning.mode = mode;
  estimate.eligible = estimate.work.token_layers < estimate.dense_work.token_layers;
  return estimate;
}

Intake::Ahead Intake::AheadOf(int priority, int64_t prompt_tokens) const {
  Ahead ahead;
  for (const auto& [id, entry] : ledger_) {
    if (entry.remaining_tokens == 0 || entry.priority < priority) continue;
    // As the planner will order them, all of these having come earlier. The few chunks that an overtaken prompt gets in
    // its turns are left out: a prediction that is a little short refuses nobody wrongly.
    if (entry.priority == priority && SizeClass(entry.remaining_tokens) > SizeClass(prompt_tokens)) continue;
    ahead.queued += entry.queued;
    ahead.work += Scaled(entry.work, entry.remaining);
  }
  return ahead;
}

AdmissionInput Intake::InputFor(const Request& request, const engine::PrefillWork& work, int64_t pages) const {
  AdmissionInput input;
  input.draining = counts_.draining;
  input.queued_requests = counts_.queued;
  input.max_queued_requests = options_.max_queued_requests;
  input.queued_prompt_tokens = counts_.queued_prompt_tokens;
  input.max_queued_prompt_tokens = options_.max_queued_prompt_tokens;
  input.pages_total = engine_.pages_total();
  input.prompt_tokens = static_cast<int64_t>(request.sequence.prompt.size());
  input.pages = pages;
  input.time_left = request.deadline - clock_.Now();
  engine::PrefillWork until_first_token = AheadOf(request.priority, input.prompt_tokens).work;
  until_first_token += work;
  if (const auto seconds = cost_model_.PredictSeconds(until_first_token); seconds.has_value()) {
    input.predicted_wait = absl::Seconds(*seconds);
  }
  input.prediction_error = cost_model_.error().value_or(1);
  return input;
}

Arm Intake::DrawArm(Request& request, Estimate& estimate) {
  if (!estimate.eligible) return Arm::kNone;
  // Eligibility must not depend on the draw, or the arms would hold different requests: both arms are made of those
  // that could run either way.
  if (CheckAdmission(InputFor(request, estimate.dense_work, estimate.dense_pages)).has_value()) return Arm::kNone;
  if (std::uniform_real_distribution<double>(0, 1)(random_) >= options_.randomized_dense_share) return Arm::kPruned;
  request.sequence.pruning.mode = engine::PruningMode::kOff;
  estimate.work = estimate.dense_work;
  estimate.pages = estimate.dense_pages;
  return Arm::kDense;
}

absl::StatusOr<Admission> Intake::Submit(Request request, std::shared_ptr<EventSink> sink) {
  SLIMFILL_CHECK(sink != nullptr);
  if (absl::Status valid = engine_.Validate(request.sequence); !valid.ok()) {
    metrics_.Add(metric::kAdmissionRejections, {"invalid"});
    return valid;
  }
  Estimate estimate = EstimateFor(request.sequence);

  absl::MutexLock lock(&mutex_);
  if (std::optional<Refusal> refusal = CheckAdmission(InputFor(request, estimate.work, estimate.pages));
      refusal.has_value()) {
    metrics_.Add(metric::kAdmissionRejections, {refusal->reason});
    return refusal->status;
  }
  const Arm arm = DrawArm(request, estimate);
  const AdmissionInput input = InputFor(request, estimate.work, estimate.pages);

  Admission admission;
  admission.id = next_id_++;
  admission.queue_position = AheadOf(request.priority, input.prompt_tokens).queued;
  admission.predicted_ttft = input.predicted_wait + std::max(clock_.Now() - request.arrival, absl::ZeroDuration());

  Entry& entry = ledger_[admission.id];
  entry.priority = request.priority;
  entry.prompt_tokens = entry.remaining_tokens = input.prompt_tokens;
  entry.work = estimate.work;
  auto state = std::make_unique<RequestState>(admission.id, std::move(request), std::move(sink));
  state->pages = estimate.pages;
  state->arm = arm;
  inbox_.arrived.push_back(std::move(state));
  ++counts_.queued;
  counts_.queued_prompt_tokens += entry.prompt_tokens;
  PublishCounts();
  changed_.SignalAll();
  return admission;
}

void Intake::Cancel(RequestId id) {
  absl::MutexLock lock(&mutex_);
  if (!ledger_.contains(id)) return;
  inbox_.cancelled.push_back(id);
  changed_.SignalAll();
}

bool Intake::Drain(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  counts_.draining = true;
  while (!ledger_.empty() || delivering_ > 0) {
    const absl::Duration left = deadline - clock_.Now();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitWithTimeout(&mutex_, left);
  }
  return true;
}

void Intake::Stop() {
  absl::MutexLock lock(&mutex_);
  counts_.draining = true;
  inbox_.stopping = true;
  changed_.SignalAll();
}

Snapshot Intake::snapshot() const {
  absl::MutexLock lock(&mutex_);
  return counts_;
}

Intake::Batch Intake::Take() {
  absl::MutexLock lock(&mutex_);
  Batch batch = std::exchange(inbox_, Batch());
  inbox_.stopping = batch.stopping;
  return batch;
}

void Intake::WaitForWork(absl::Duration at_most) {
  const absl::Time deadline = absl::Now() + at_most;
  absl::MutexLock lock(&mutex_);
  while (inbox_.arrived.empty() && inbox_.cancelled.empty() && !inbox_.stopping) {
    if (changed_.WaitWithDeadline(&mutex_, deadline)) return;
  }
}

void Intake::NoteStarted(RequestId id, int64_t remaining_tokens, double remaining) {
  absl::MutexLock lock(&mutex_);
  Entry& entry = ledger_.at(id);
  entry.queued = false;
  entry.remaining_tokens = remaining_tokens;
  entry.remaining = remaining;
  --counts_.queued;
  counts_.queued_prompt_tokens -= entry.prompt_tokens;
  ++counts_.running;
  PublishCounts();
}

void Intake::NotePrefill(RequestId id, int64_t remaining_tokens, double remaining) {
  absl::MutexLock lock(&mutex_);
  Entry& entry = ledger_.at(id);
  entry.remaining_tokens = remaining_tokens;
  entry.remaining = remaining;
}

void Intake::BeginTerminal(RequestId id) {
  absl::MutexLock lock(&mutex_);
  const auto found = ledger_.find(id);
  SLIMFILL_CHECK(found != ledger_.end());
  if (found->second.queued) {
    --counts_.queued;
    counts_.queued_prompt_tokens -= found->second.prompt_tokens;
  } else {
    --counts_.running;
  }
  ledger_.erase(found);
  ++counts_.finished;
  ++delivering_;
  PublishCounts();
}

void Intake::EndTerminal() {
  absl::MutexLock lock(&mutex_);
  --delivering_;
  changed_.SignalAll();
}

void Intake::ObserveChunk(const engine::PrefillWork& work, double seconds) {
  absl::MutexLock lock(&mutex_);
  cost_model_.Observe(work, seconds);
  if (const auto error = cost_model_.error(); error.has_value()) metrics_.Set(metric::kCostModelError, *error);
}

Intake::CostPrediction Intake::Predict(const engine::PrefillWork& work) const {
  absl::MutexLock lock(&mutex_);
  return {cost_model_.PredictSeconds(work), cost_model_.error(), cost_model_.trusted()};
}

void Intake::PublishCounts() {
  metrics_.Set(metric::kRequestsWaiting, static_cast<double>(counts_.queued));
  metrics_.Set(metric::kRequestsRunning, static_cast<double>(counts_.running));
  metrics_.Set(metric::kQueuedPromptTokens, static_cast<double>(counts_.queued_prompt_tokens));
}

}  // namespace slimfill::scheduler
