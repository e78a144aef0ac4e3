// Densification: in idle time, past prompts and their answers are run densely and stored with all layers, so that the
// next question about the same text, or the next turn of the same chat, runs nothing but what is new ("hot").
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/metrics.h"
#include "engine/kv/prefix_cache.h"
#include "engine/prefill.h"
#include "engine/prefix_history.h"
#include "engine/sequence.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::engine {

// Borrows everything; engine thread only.
class Densifier {
 public:
  struct Parts {
    // Begins a sequence's prefill, loading what is stored of it for at most so long. Fails where pages are short.
    std::function<absl::StatusOr<std::unique_ptr<PrunedSequence>>(SequenceRequest, absl::Duration)> start;
    Prefill& prefill;
    const PrefixCache& prefix_cache;
    kvstore::KvStore& store;
    Metrics& metrics;
    int64_t max_context;
  };
  struct Options {
    int64_t min_value = 4096;  // requests x tokens of a conversation that is worth it
    // A request that comes meanwhile waits for one chunk at most: little, though larger ones cost less in all.
    int64_t chunk_tokens = kBlockTokens;
    size_t remembered = 64;                              // conversations
    absl::Duration store_wait = absl::Milliseconds(50);  // for its statistics
  };
  Densifier(const Parts& parts, const Options& options)
      : p_(parts), options_(options), history_(options.min_value, options.remembered) {}

  // A request that may share prefixes has ended. `tokens`: its prompt and what was generated.
  void Note(std::vector<TokenId> tokens, const std::string& tenant_salt);

  // Runs a chunk of the most valuable conversation that is not hot yet; false when there is nothing to do now.
  bool RunChunk();

  // Gives back the pages that unfinished work holds. What it has run is stored already.
  void Pause() { sequence_.reset(); }

 private:
  bool Begin();
  // Makes `sequence_` of a conversation; none when it is hot already. Fails when there is no room for it now.
  absl::Status Start(const Conversation& conversation, int64_t blocks);

  const Parts p_;
  const Options options_;
  PrefixHistory history_;
  Conversation* current_ = nullptr;  // what `sequence_` runs
  std::unique_ptr<PrunedSequence> sequence_;
  std::vector<float> logits_;  // of no interest
};

}  // namespace slimfill::engine
