// The facade the scheduler calls: prefill in chunks, decode in steps, release by destruction. It knows nothing of
// queues, deadlines or gRPC.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/chat_template.h"
#include "engine/model/config.h"
#include "engine/model/tokenizer.h"
#include "engine/prune/plan.h"
#include "engine/sampling/output_stream.h"
#include "engine/sampling/sampler.h"

namespace slimfill::engine {

enum class PruningMode { kAuto, kOff, kCustom };

struct PruningRequest {
  PruningMode mode = PruningMode::kAuto;
  // kCustom: share of the prompt's blocks that each prune layer keeps, in (0, 1], not increasing; as many as the plan
  // has stages, or one for all.
  std::vector<float> keep_ratio;
  // Token range [first, second) of the question within the prompt, where the caller knows it; else found by the rules
  // of engine/prune/policy.h from `last_user_content` and the prompt's end.
  std::optional<std::pair<int64_t, int64_t>> query_span;
  // Replaces the engine's own plan for this request; null: the engine's. Stored prefixes serve it when its first
  // pruning is at the same layer.
  std::shared_ptr<const PrunePlan> plan;
  std::vector<int32_t> given_blocks;  // ascending; what score kGiven keeps
  bool trace = false;                 // record what was kept and every block's score
};

struct SequenceRequest {
  std::vector<TokenId> prompt;
  // Where the last user message's content lies in `prompt`, for chats; empty otherwise.
  std::optional<std::pair<int64_t, int64_t>> last_user_content;
  SamplingParams sampling;
  PruningRequest pruning;
  std::string tenant_salt;  // from the authenticated identity, never from the request's own fields
  bool no_store = false;    // neither reads nor writes shared prefix blocks
};

// How much work a piece of prefill is, in units that time is linear in (see scheduler/cost_model.h).
struct PrefillWork {
  double chunks = 0;        // fixed cost of a chunk, per layer it runs
  double token_layers = 0;  // tokens x layers through the linear parts (a stage's border layers count by their share)
  double pair_layers = 0;   // (query, key) pairs x layers in attention
  PrefillWork& operator+=(const PrefillWork& other) {
    chunks += other.chunks;
    token_layers += other.token_layers;
    pair_layers += other.pair_layers;
    return *this;
  }
};

// What one pruning did; for reports and the heat map. A first pruning that the safety rules put off or call off keeps
// every block.
struct PruneTraceStage {
  int prune_layer = 0;
  std::vector<int32_t> candidate_blocks;  // absolute block ids that entered
  std::vector<float> scores;              // of the candidates, normalised by the best that was not forced
  std::vector<int32_t> kept_blocks;       // ascending
  std::vector<int32_t> forced_blocks;     // kept whatever their score: sink, local, question
};

struct StageReport {
  int last_layer = 0;  // the stage ends after this layer's attention (or with the logits)
  int64_t tokens_in = 0;
  int64_t tokens_kept = 0;  // by the pruning that ends the stage; = tokens_in for the last stage
  double compute_seconds = 0;
};

struct PrefillReport {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // served by stored prefix blocks
  bool pruned = false;        // false: the prompt ran dense
  bool hot = false;           // all layers of cached tokens came from the store; then not pruned
  // "dense", "cold" (pruned), "warm" (pruned, stage 1 partly from the store) or "hot".
  std::string served_by;
  std::vector<std::string> fallbacks;  // why less was pruned than the plan says: bounded set of reasons
  bool fell_back_to_dense = false;     // by the last of them, as soon as that is decided
  std::vector<StageReport> stages;
  std::vector<PruneTraceStage> trace;                   // only when asked for, as `question`
  std::optional<std::pair<int64_t, int64_t>> question;  // tokens [first, second) that were taken for it
  int64_t kv_bytes = 0;                                 // KV pages the engine holds for this sequence after prefill
  int64_t dense_kv_bytes = 0;                           // what it would hold without pruning
  PrefillWork work;                                     // done
};

struct DecodeReport {
  int64_t steps = 0;
  int64_t swaps = 0;         // blocks exchanged at prune layers
  int64_t missed_swaps = 0;  // blocks wanted but late or missing: the active set stayed
  double stall_seconds = 0;  // decode waiting for blocks
};

struct TokenEvent {
  TokenId token = -1;
  std::string text;  // delta, valid UTF-8, may be empty
  std::optional<float> logprob;
  std::vector<TokenLogprob> top_logprobs;
  FinishReason finish = FinishReason::kNone;
};

struct PrefillStep {
  bool done = false;  // the prompt is through; first_token is set
  int stage = 0;      // 0-based stage this chunk belonged to
  int stages = 1;
  double fraction_done = 0;    // of the predicted work of the whole prefill, 0..1
  PrefillWork work;            // this chunk's
  double compute_seconds = 0;  // this chunk's
  std::optional<TokenEvent> first_token;
};

// One request inside the engine. Owned by the caller; destroying it releases every page, lease and pin.
class Sequence {
 public:
  virtual ~Sequence() = default;
  virtual const PrefillReport& prefill_report() const = 0;
  virtual DecodeReport decode_report() const = 0;
  // Text held back for stop strings when generation ends for another reason (cancel, deadline).
  virtual std::string Flush() = 0;
};

struct EngineInfo {
  ModelConfig model;
  std::string model_sha256;
  std::string model_file;
  std::string backend;       // description for people
  std::string backend_name;  // "cpu", ...
  std::string arithmetic;    // of its linear layers: "bf16", ...
  std::string chat_format;   // "chatml", "llama3" or ""
  std::string plan_name;     // "" when the model has no plan at all
  std::string plan_json;     // the plan as data
  int64_t max_context = 0;   // tokens: prompt plus output
  int64_t chunk_tokens = 0;
};

// Not thread safe except where said: the scheduler's one engine thread calls it.
class Engine {
 public:
  virtual ~Engine() = default;

  // Thread safe.
  virtual const EngineInfo& info() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  virtual const ChatTemplate* chat_template() const = 0;  // null when the model has none
  // Everything that can be said of a request before it runs: INVALID_ARGUMENT naming field, value, limit and remedy for
  // an empty or too long prompt, ids out of the vocabulary, bad sampling or pruning parameters.
  virtual absl::Status Validate(const SequenceRequest& request) const = 0;
  // The work of a cold prefill of `prompt_tokens`, pruned by plan or dense.
  virtual PrefillWork EstimateWork(int64_t prompt_tokens, PruningMode mode) const = 0;
  // KV pages such a request may need at its peak, against which the scheduler admits.
  virtual int64_t PagesNeeded(const SequenceRequest& request) const = 0;
  virtual int64_t pages_total() const = 0;
  // INTERNAL once the device below has failed: nothing it gives counts any more, and the process has to start again.
  virtual absl::Status Health() const { return absl::OkStatus(); }

  // Engine thread.
  virtual int64_t pages_used() const = 0;
  // Makes a sequence: validates, looks for a stored prefix (within a bounded time), reserves what it needs.
  // INVALID_ARGUMENT, or RESOURCE_EXHAUSTED when pages are short (try again when others have finished).
  virtual absl::StatusOr<std::unique_ptr<Sequence>> Start(SequenceRequest request) = 0;
  // Runs the next chunk. After an error the sequence can only be destroyed. REQUIRES: not done.
  virtual absl::StatusOr<PrefillStep> PrefillChunk(Sequence& sequence) = 0;
  // One decode step of each sequence, batched. One result per sequence: one that fails does so alone.
  // REQUIRES: each is through prefill and has not finished (or was restarted).
  virtual std::vector<absl::StatusOr<TokenEvent>> DecodeStep(absl::Span<Sequence* const> sequences) = 0;
  // For when no request is live: a bounded piece of work (less than a chunk) that makes later requests faster. False
  // when there is none to do now; there may be after the next request.
  virtual bool RunIdleChunk() = 0;
};

}  // namespace slimfill::engine
