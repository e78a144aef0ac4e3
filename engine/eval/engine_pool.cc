#include "engine/eval/engine_pool.h"

#include <utility>

#include "base/status.h"
#include "engine/ops/backend_factory.h"
#include "engine/pruned_engine.h"

namespace slimfill::eval {
namespace {

constexpr uint64_t kStoreBytes = uint64_t{2} << 30;  // holds the prefix of a document at every depth

}  // namespace

absl::StatusOr<std::unique_ptr<EnginePool>> EnginePool::Create(Options options) {
  std::unique_ptr<EnginePool> pool(new EnginePool(std::move(options)));
  SLIMFILL_ASSIGN_OR_RETURN(
      pool->store_, kvstore::LocalKvStore::Create({.memory_bytes = kStoreBytes}, pool->clock_, &pool->metrics_));
  SLIMFILL_RETURN_IF_ERROR(pool->Load(0));
  return pool;
}

absl::StatusOr<engine::StudyEngine*> EnginePool::For(const Arm& arm) {
  const int prefix_layers = options_.by_depth ? PrefixLayers(arm) : 0;
  if (!engines_.contains(prefix_layers)) SLIMFILL_RETURN_IF_ERROR(Load(prefix_layers));
  return engines_.at(prefix_layers).get();
}

absl::Status EnginePool::Load(int prefix_layers) {
  engine::PrunedEngineOptions engine_options;
  engine_options.hot_prefixes = false;  // an arm that prunes must not be given what a dense one has left
  engine_options.model_path = options_.model_path;
  engine_options.prefix_layers = prefix_layers;
  SLIMFILL_ASSIGN_OR_RETURN(auto backend,
                            engine::MakeBackend("cpu", {.threads = options_.threads, .linear = options_.linear}));
  SLIMFILL_ASSIGN_OR_RETURN(engines_[prefix_layers],
                            engine::MakePrunedEngine(engine_options, std::move(backend), *store_, metrics_));
  return absl::OkStatus();
}

int EnginePool::PrefixLayers(const Arm& arm) {
  const engine::EngineInfo& info = main().info();
  if (arm.mode == engine::PruningMode::kOff) return info.model.layers - 1;  // the last layer runs for each question
  if (arm.plan == nullptr || arm.plan->stages.empty()) return 0;
  const int layers = arm.plan->stages.front().prune_layer + 1;
  const engine::PrunePlan own = engine::BuiltinPlan(info.model);
  return !own.stages.empty() && own.stages.front().prune_layer + 1 == layers ? 0 : layers;
}

}  // namespace slimfill::eval
