// The engines that arms run on. An engine keeps the prefix of one depth of layers in its store, so arms that prune at
// different layers reuse a document's prefix best on engines of their own.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/metrics.h"
#include "engine/eval/arm.h"
#include "engine/study_engine.h"
#include "kvstore/core/local_store.h"

namespace slimfill::eval {

class EnginePool {
 public:
  struct Options {
    std::string model_path;
    std::string linear = "bf16";  // numbers of the linear layers: bf16 or int8
    int threads = 0;              // 0: all cores
    // An engine for each depth at which arms first prune, and one for dense that stores all it can, so that a document
    // is prefilled once for all its questions. Each holds the model. False: one engine for all arms.
    bool by_depth = false;
  };
  // Loads the first engine, the one with the model's own plan.
  static absl::StatusOr<std::unique_ptr<EnginePool>> Create(Options options);

  engine::StudyEngine& main() { return *engines_.at(0); }
  // The arm's engine, loaded when it is first asked for.
  absl::StatusOr<engine::StudyEngine*> For(const Arm& arm);

 private:
  explicit EnginePool(Options options) : options_(std::move(options)) {}
  absl::Status Load(int prefix_layers);
  int PrefixLayers(const Arm& arm);

  const Options options_;
  SystemClock clock_;
  Metrics metrics_;
  std::unique_ptr<kvstore::LocalKvStore> store_;
  std::map<int, std::unique_ptr<engine::StudyEngine>> engines_;  // by layers of stored prefixes; 0: the plan's
};

}  // namespace slimfill::eval
