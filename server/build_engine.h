// The one place that chooses the backend, the KV store and the model.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "engine/engine.h"
#include "kvstore/api/kv_store.h"
#include "server/config.h"

namespace slimfill::server {

struct BuiltEngine {
  std::unique_ptr<kvstore::KvStore> store;  // must outlive the engine
  std::unique_ptr<engine::Engine> engine;
};

// Loads the model that `config` names. Errors name the flag or file. Borrows `metrics` and `clock`.
absl::StatusOr<BuiltEngine> BuildEngine(const ServerConfig& config, Metrics& metrics, Clock& clock);

}  // namespace slimfill::server
