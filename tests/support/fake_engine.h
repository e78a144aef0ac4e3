// An engine without a model, for tests of whatever sits above one. Work and time are exact: a chunk takes
// seconds(work) on the FakeClock, a decode step a fixed time. Requests are scripted by the first token of their prompt.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/status.h"
#include "engine/engine.h"

namespace slimfill::test {

struct FakeEngineOptions {
  // A pruned prompt runs `first_stage_layers` for all tokens, then the rest for `keep` of them.
  int layers = 8;
  int first_stage_layers = 2;
  double keep = 0.25;
  int64_t chunk_tokens = 512;
  int64_t max_context = 256 * 1024;
  int vocab = 1 << 20;
  int64_t pages_total = 1 << 20;
  int64_t page_tokens = 64;
  // Seconds of compute; the defaults make a 512-token chunk of a short dense prompt take about 0.1 s.
  double chunk_cost = 1e-4;
  double token_layer_cost = 2e-5;
  double pair_layer_cost = 2e-9;
  absl::Duration step_time = absl::Milliseconds(10);
  absl::Duration start_time = absl::ZeroDuration();
  absl::Duration idle_chunk_time = absl::Milliseconds(100);
};

// What happens to a request whose prompt begins with the token it is registered for.
struct FakeScript {
  absl::Status start;      // if not OK, what Start says
  int short_starts = 0;    // so many Starts find no pages
  int fail_at_chunk = -1;  // 0-based; PrefillChunk returns `failure`
  int fail_at_token = -1;  // 1: the first decode step
  absl::Status failure = absl::InternalError("scripted failure");
  int64_t cached_tokens = 0;
  bool hot = false;     // its cached tokens have all layers
  double slowness = 1;  // of its chunks, against the engine's costs
  int stop_after = 0;   // tokens after which it stops by itself (0: at max_tokens)
  std::vector<std::string> fallbacks;
  std::vector<engine::PruneTraceStage> trace;  // for requests that ask for one
  std::optional<std::pair<int64_t, int64_t>> question;
  bool no_first_token = false;  // breaks the contract at the end of prefill
};

// One call into the engine, for tests that check the order of work.
struct FakeCall {
  enum class Kind { kStart, kChunk, kStep, kIdleChunk };
  Kind kind;
  std::vector<engine::TokenId> keys;  // first prompt tokens of the sequences it ran
  absl::Time begin, end;
};

class FakeEngine final : public engine::Engine {
 public:
  explicit FakeEngine(FakeClock& clock, FakeEngineOptions options = {}, const engine::Tokenizer* tokenizer = nullptr)
      : clock_(clock), options_(options), tokenizer_(tokenizer) {
    info_.model.layers = options_.layers;
    info_.model.vocab = options_.vocab;
    info_.model.name = "fake";
    info_.backend = info_.backend_name = "fake";
    info_.plan_name = "fake";
    info_.max_context = options_.max_context;
    info_.chunk_tokens = options_.chunk_tokens;
  }
  ~FakeEngine() override { SLIMFILL_CHECK(live_sequences() == 0); }

  // Before requests with this key are submitted.
  void Script(engine::TokenId key, FakeScript script) {
    absl::MutexLock lock(&mutex_);
    scripts_[key] = std::move(script);
  }
  // From now on the device below has failed.
  void Break(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    health_ = std::move(status);
  }
  absl::Status Health() const override {
    absl::MutexLock lock(&mutex_);
    return health_;
  }
  // Runs on the engine thread at the end of every call, after its time has passed. Before the first request.
  void OnCall(std::function<void()> hook) { hook_ = std::move(hook); }

  std::vector<FakeCall> calls() const {
    absl::MutexLock lock(&mutex_);
    return calls_;
  }
  int live_sequences() const {
    absl::MutexLock lock(&mutex_);
    return live_;
  }
  int max_live_sequences() const {
    absl::MutexLock lock(&mutex_);
    return max_live_;
  }
  double Seconds(const engine::PrefillWork& work) const {
    return options_.chunk_cost * work.chunks + options_.token_layer_cost * work.token_layers +
           options_.pair_layer_cost * work.pair_layers;
  }

  const engine::EngineInfo& info() const override { return info_; }
  const engine::Tokenizer& tokenizer() const override {
    SLIMFILL_CHECK(tokenizer_ != nullptr);
    return *tokenizer_;
  }
  const engine::ChatTemplate* chat_template() const override { return nullptr; }

  absl::Status Validate(const engine::SequenceRequest& request) const override {
    if (request.prompt.empty()) return absl::InvalidArgumentError("prompt is empty: send at least one token");
    const int64_t tokens = static_cast<int64_t>(request.prompt.size()) + request.sampling.max_tokens;
    if (tokens <= options_.max_context) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("prompt and output have ", tokens, " tokens, the context is ",
                                                   options_.max_context, ": shorten the prompt"));
  }

  engine::PrefillWork EstimateWork(int64_t prompt_tokens, engine::PruningMode mode) const override {
    engine::PrefillWork work;
    for (const Chunk& chunk : Chunks(prompt_tokens, 0, mode)) work += chunk.work;
    return work;
  }
  int64_t PagesNeeded(const engine::SequenceRequest& request) const override {
    const int64_t tokens = static_cast<int64_t>(request.prompt.size()) + request.sampling.max_tokens;
    return (tokens + options_.page_tokens - 1) / options_.page_tokens;
  }
  int64_t pages_total() const override { return options_.pages_total; }
  int64_t pages_used() const override {
    absl::MutexLock lock(&mutex_);
    return pages_used_;
  }

  absl::StatusOr<std::unique_ptr<engine::Sequence>> Start(engine::SequenceRequest request) override {
    SLIMFILL_RETURN_IF_ERROR(Validate(request));
    const absl::Time begin = clock_.Now();
    clock_.Advance(options_.start_time);
    absl::StatusOr<std::unique_ptr<engine::Sequence>> result = StartSequence(request);
    Record(FakeCall::Kind::kStart, {request.prompt.front()}, begin);
    return result;
  }

  absl::StatusOr<engine::PrefillStep> PrefillChunk(engine::Sequence& sequence) override {
    auto& fake = static_cast<FakeSequence&>(sequence);
    SLIMFILL_CHECK(!fake.failed && fake.next_chunk < fake.chunks.size());
    const absl::Time begin = clock_.Now();
    absl::StatusOr<engine::PrefillStep> result = NextChunk(fake);
    Record(FakeCall::Kind::kChunk, {fake.key}, begin);
    return result;
  }

  bool RunIdleChunk() override {
    {
      absl::MutexLock lock(&mutex_);
      if (idle_chunks_ == 0) return false;
      --idle_chunks_;
    }
    const absl::Time begin = clock_.Now();
    clock_.Advance(options_.idle_chunk_time);
    Record(FakeCall::Kind::kIdleChunk, {}, begin);
    return true;
  }
  // What there is to do in idle time.
  void AddIdleChunks(int count) {
    absl::MutexLock lock(&mutex_);
    idle_chunks_ += count;
  }

  std::vector<absl::StatusOr<engine::TokenEvent>> DecodeStep(absl::Span<engine::Sequence* const> sequences) override {
    SLIMFILL_CHECK(!sequences.empty());
    const absl::Time begin = clock_.Now();
    clock_.Advance(options_.step_time);
    std::vector<absl::StatusOr<engine::TokenEvent>> results;
    std::vector<engine::TokenId> keys;
    for (engine::Sequence* sequence : sequences) {
      auto& fake = static_cast<FakeSequence&>(*sequence);
      SLIMFILL_CHECK(!fake.failed && !fake.finished && fake.next_chunk == fake.chunks.size());
      keys.push_back(fake.key);
      fake.failed = fake.tokens == fake.script.fail_at_token;
      if (fake.failed) {
        results.push_back(fake.script.failure);
      } else {
        results.push_back(NextToken(fake));
      }
    }
    Record(FakeCall::Kind::kStep, std::move(keys), begin);
    return results;
  }

 private:
  struct Chunk {
    int stage;
    engine::PrefillWork work;
  };
  struct FakeSequence final : engine::Sequence {
    FakeSequence(FakeEngine& engine, int64_t pages, engine::TokenId key, FakeScript script)
        : engine(engine), pages(pages), key(key), script(std::move(script)) {}
    ~FakeSequence() override { engine.Release(pages); }
    const engine::PrefillReport& prefill_report() const override { return report; }
    engine::DecodeReport decode_report() const override { return {.steps = std::max(0, tokens - 1)}; }
    std::string Flush() override { return ""; }

    FakeEngine& engine;
    const int64_t pages;
    const engine::TokenId key;
    const FakeScript script;
    int max_tokens = 0;
    std::vector<Chunk> chunks;
    size_t next_chunk = 0;
    engine::PrefillWork total;
    int tokens = 0;
    bool failed = false, finished = false;
    engine::PrefillReport report;
  };

  // Chunks of causal attention over `tokens`, the first `done` of which are there already.
  void AppendStage(std::vector<Chunk>& chunks, int stage, int64_t done, int64_t tokens, int layers) const {
    for (int64_t begin = done; begin < tokens; begin += options_.chunk_tokens) {
      const double size = static_cast<double>(std::min(options_.chunk_tokens, tokens - begin));
      const double pairs = size * static_cast<double>(begin) + size * (size + 1) / 2;
      chunks.push_back({stage, {.chunks = 1.0 * layers, .token_layers = size * layers, .pair_layers = pairs * layers}});
    }
  }
  std::vector<Chunk> Chunks(int64_t prompt_tokens, int64_t cached, engine::PruningMode mode) const {
    std::vector<Chunk> chunks;
    if (!Prunes(prompt_tokens, mode)) {
      AppendStage(chunks, 0, cached, prompt_tokens, options_.layers);
    } else {
      AppendStage(chunks, 0, cached, prompt_tokens, options_.first_stage_layers);
      AppendStage(chunks, 1, 0, Kept(prompt_tokens), options_.layers - options_.first_stage_layers);
    }
    return chunks;
  }
  bool Prunes(int64_t prompt_tokens, engine::PruningMode mode) const {
    return mode != engine::PruningMode::kOff && Kept(prompt_tokens) < prompt_tokens;
  }
  int64_t Kept(int64_t prompt_tokens) const {
    const int64_t share = static_cast<int64_t>(options_.keep * static_cast<double>(prompt_tokens));
    return std::min(prompt_tokens, std::max<int64_t>(256, share));
  }

  absl::StatusOr<std::unique_ptr<engine::Sequence>> StartSequence(const engine::SequenceRequest& request) {
    const int64_t tokens = static_cast<int64_t>(request.prompt.size());
    const int64_t pages = PagesNeeded(request);
    FakeScript script;
    {
      absl::MutexLock lock(&mutex_);
      if (const auto found = scripts_.find(request.prompt.front()); found != scripts_.end()) {
        if (found->second.short_starts-- > 0) return absl::ResourceExhaustedError("scripted: no pages");
        script = found->second;
      }
      if (!script.start.ok()) return script.start;
      if (pages > options_.pages_total - pages_used_) return absl::ResourceExhaustedError("no pages");
      pages_used_ += pages;
      max_live_ = std::max(max_live_, ++live_);
    }
    auto sequence = std::make_unique<FakeSequence>(*this, pages, request.prompt.front(), script);
    sequence->max_tokens = script.stop_after > 0 ? script.stop_after : request.sampling.max_tokens;
    const engine::PruningMode mode = script.hot ? engine::PruningMode::kOff : request.pruning.mode;
    sequence->chunks = Chunks(tokens, script.cached_tokens, mode);
    for (const Chunk& chunk : sequence->chunks) sequence->total += chunk.work;
    FillReport(*sequence, tokens, Prunes(tokens, mode));
    if (request.pruning.trace) {
      sequence->report.trace = script.trace;
      sequence->report.question = script.question;
    }
    return sequence;
  }
  void FillReport(FakeSequence& sequence, int64_t tokens, bool pruned) const {
    engine::PrefillReport& report = sequence.report;
    report.prompt_tokens = tokens;
    report.cached_tokens = sequence.script.cached_tokens;
    report.pruned = pruned;
    report.hot = sequence.script.hot;
    report.fallbacks = sequence.script.fallbacks;
    report.served_by = report.hot ? "hot" : !pruned ? "dense" : report.cached_tokens > 0 ? "warm" : "cold";
    report.stages.push_back({.tokens_in = tokens, .tokens_kept = pruned ? Kept(tokens) : tokens});
    if (pruned) report.stages.push_back({.tokens_in = Kept(tokens), .tokens_kept = Kept(tokens)});
  }

  absl::StatusOr<engine::PrefillStep> NextChunk(FakeSequence& sequence) {
    const Chunk& chunk = sequence.chunks[sequence.next_chunk];
    const double seconds = Seconds(chunk.work) * sequence.script.slowness;
    clock_.Advance(absl::Seconds(seconds));
    if (static_cast<int>(sequence.next_chunk) == sequence.script.fail_at_chunk) {
      sequence.failed = true;
      return sequence.script.failure;
    }
    ++sequence.next_chunk;
    sequence.report.work += chunk.work;
    sequence.report.stages[chunk.stage].compute_seconds += seconds;
    engine::PrefillStep step;
    step.stage = chunk.stage;
    step.stages = static_cast<int>(sequence.report.stages.size());
    step.work = chunk.work;
    step.compute_seconds = seconds;
    step.fraction_done = Seconds(sequence.report.work) / Seconds(sequence.total);
    step.done = sequence.next_chunk == sequence.chunks.size();
    if (step.done && !sequence.script.no_first_token) step.first_token = NextToken(sequence);
    return step;
  }
  engine::TokenEvent NextToken(FakeSequence& sequence) const {
    engine::TokenEvent event;
    event.token = sequence.tokens++;
    event.text = absl::StrCat(event.token, " ");
    if (sequence.tokens >= sequence.max_tokens) {
      sequence.finished = true;
      event.finish = sequence.script.stop_after > 0 ? engine::FinishReason::kStop : engine::FinishReason::kLength;
    }
    return event;
  }

  void Record(FakeCall::Kind kind, std::vector<engine::TokenId> keys, absl::Time begin) {
    {
      absl::MutexLock lock(&mutex_);
      calls_.push_back({kind, std::move(keys), begin, clock_.Now()});
    }
    if (hook_) hook_();
  }
  void Release(int64_t pages) {
    absl::MutexLock lock(&mutex_);
    pages_used_ -= pages;
    --live_;
  }

  FakeClock& clock_;
  const FakeEngineOptions options_;
  const engine::Tokenizer* tokenizer_;
  engine::EngineInfo info_;
  std::function<void()> hook_;

  mutable absl::Mutex mutex_;
  std::map<engine::TokenId, FakeScript> scripts_ ABSL_GUARDED_BY(mutex_);
  std::vector<FakeCall> calls_ ABSL_GUARDED_BY(mutex_);
  int64_t pages_used_ ABSL_GUARDED_BY(mutex_) = 0;
  int live_ ABSL_GUARDED_BY(mutex_) = 0;
  int idle_chunks_ ABSL_GUARDED_BY(mutex_) = 0;
  int max_live_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status health_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slimfill::test
