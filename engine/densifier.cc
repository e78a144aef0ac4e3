#include "engine/densifier.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "base/metric_names.h"
#include "base/status.h"

namespace slimfill::engine {
namespace {

constexpr absl::Duration kLoadTime = absl::Seconds(10);  // idle time: loading is still much faster than running
// A conversation must leave room for others.
constexpr double kMaxShareOfStore = 0.5;

}  // namespace

void Densifier::Note(std::vector<TokenId> tokens, const std::string& tenant_salt) {
  Pause();  // the history may forget what is being run
  history_.Note(std::move(tokens), tenant_salt);
}

bool Densifier::RunChunk() {
  if (sequence_ == nullptr && !Begin()) return false;
  const bool last_stage = sequence_->stages[sequence_->stage].final;
  const int64_t first = sequence_->next_row;
  PrefillWork work;
  const absl::StatusOr<bool> done = p_.prefill.RunChunk(*sequence_, work, logits_);
  if (last_stage) p_.metrics.Add(metric::kDensifiedTokens, {}, static_cast<double>(sequence_->next_row - first));
  if (!done.ok() || *done) {
    current_->settled = true;
    Pause();
  }
  return true;
}

bool Densifier::Begin() {
  while ((current_ = history_.Next()) != nullptr) {
    const absl::StatusOr<kvstore::StoreStats> stats = p_.store.Stats(absl::Now() + options_.store_wait);
    if (!stats.ok()) return false;  // nobody would keep the result
    // Whole blocks, for only they are stored, and a token behind them, for one must run.
    const int64_t tokens = std::min<int64_t>(static_cast<int64_t>(current_->tokens.size()), p_.max_context - 1);
    const int64_t blocks = (tokens - 1) / kBlockTokens;
    const bool fits = static_cast<double>(p_.prefix_cache.HotBytes(blocks)) <=
                      kMaxShareOfStore * static_cast<double>(stats->bytes_limit);
    if (fits) {
      if (!Start(*current_, blocks).ok()) return false;
      if (sequence_ != nullptr) return true;
    }
    current_->settled = true;
  }
  return false;
}

absl::Status Densifier::Start(const Conversation& conversation, int64_t blocks) {
  SequenceRequest request;
  request.prompt.assign(conversation.tokens.begin(), conversation.tokens.begin() + blocks * kBlockTokens + 1);
  request.tenant_salt = conversation.tenant_salt;
  request.pruning.mode = PruningMode::kOff;
  request.sampling.max_tokens = 1;
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<PrunedSequence> sequence, p_.start(std::move(request), kLoadTime));
  sequence->chunk_tokens = options_.chunk_tokens;
  if (sequence->hot_rows < blocks * kBlockTokens) sequence_ = std::move(sequence);
  return absl::OkStatus();
}

}  // namespace slimfill::engine
