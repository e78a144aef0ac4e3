// The engine: a model on a backend, pruned prefill and decode, a KV store behind it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/metrics.h"
#include "engine/ops/backend.h"
#include "engine/study_engine.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::engine {

struct PrunedEngineOptions {
  std::string model_path;
  std::string plan = "fast";                  // "fast", "safe", "off", or a plan file's path
  int64_t max_context = 0;                    // tokens; 0: the model's own
  int64_t chunk_tokens = 1024;                // a multiple of 64
  int64_t kv_pages_bytes = int64_t{4} << 30;  // KV the engine may hold
  int max_decode_batch = 64;
  // Layers whose results stored prefixes hold; 0: those up to the plan's first pruning. A request reuses them when its
  // first pruning is at the last of these layers, or when it runs dense.
  int prefix_layers = 0;
  // Dense prefills store the KV of all layers, and later requests start behind it where that is less work than pruning.
  // Off for studies of pruning, which must not be answered by a dense prefix.
  bool hot_prefixes = true;
  int64_t densify_min_value = 4096;  // requests x tokens from which on a conversation is made hot in idle time
  // How long a request waits to hear whether a prefix of it is stored. For the prefix itself it waits as long, or half
  // of what recomputing it takes.
  absl::Duration store_wait = absl::Milliseconds(50);
  // How long decode waits at most for blocks that a swap asked for; later ones leave the active set as it is.
  absl::Duration swap_wait = absl::Milliseconds(50);
  // Called while the model is loaded, in [0, 1].
  std::function<void(double fraction)> load_progress;
};

// Borrows `store` and `metrics`, which must outlive the engine. INVALID_ARGUMENT or NOT_FOUND with the remedy for a bad
// model, plan or option; RESOURCE_EXHAUSTED without memory.
absl::StatusOr<std::unique_ptr<StudyEngine>> MakePrunedEngine(const PrunedEngineOptions& options,
                                                              std::unique_ptr<Backend> backend, kvstore::KvStore& store,
                                                              Metrics& metrics);

}  // namespace slimfill::engine
