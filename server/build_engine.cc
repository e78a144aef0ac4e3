#include "server/build_engine.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/pem_file.h"
#include "base/status.h"
#include "engine/ops/backend_factory.h"
#include "engine/pruned_engine.h"
#include "kvstore/client/connect.h"
#include "kvstore/core/local_store.h"

namespace slimfill::server {
namespace {

absl::StatusOr<std::unique_ptr<kvstore::KvStore>> MakeStore(const ServerConfig& config, Metrics& metrics,
                                                            Clock& clock) {
  if (config.kv_store != "embedded") {
    kvstore::GrpcStoreOptions options;
    if (!config.kv_store_ca.empty()) {
      kvstore::MutualTls& tls = options.tls.emplace();
      SLIMFILL_ASSIGN_OR_RETURN(tls.peer_ca, ReadPemFile("--kv-store-ca", config.kv_store_ca));
      SLIMFILL_ASSIGN_OR_RETURN(tls.certificate, ReadPemFile("--kv-store-cert", config.kv_store_cert));
      SLIMFILL_ASSIGN_OR_RETURN(tls.key, ReadPemFile("--kv-store-key", config.kv_store_key));
    }
    return kvstore::ConnectKvStore(config.kv_store, options, clock, &metrics);
  }
  kvstore::LocalStoreOptions options;
  options.memory_bytes = static_cast<uint64_t>(config.kv_memory_bytes);
  options.tenant_bytes = static_cast<uint64_t>(config.kv_tenant_memory_bytes);
  return kvstore::LocalKvStore::Create(options, clock, &metrics);
}

// Says how far loading is, a few times.
class LoadLog {
 public:
  void operator()(double fraction) {
    const int quarter = static_cast<int>(fraction * 4);
    if (quarter == logged_quarters_) return;
    logged_quarters_ = quarter;
    spdlog::info("loading model progress={}%", quarter * 25);
  }

 private:
  int logged_quarters_ = 0;
};

}  // namespace

absl::StatusOr<BuiltEngine> BuildEngine(const ServerConfig& config, Metrics& metrics, Clock& clock) {
  BuiltEngine built;
  SLIMFILL_ASSIGN_OR_RETURN(built.store, MakeStore(config, metrics, clock));
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<engine::Backend> backend,
                            engine::MakeBackend(config.backend, {.threads = config.threads, .linear = config.linear}));
  engine::PrunedEngineOptions options;
  options.model_path = config.model;
  options.plan = config.plan;
  options.max_context = config.max_context;
  if (config.chunk_tokens > 0) options.chunk_tokens = config.chunk_tokens;
  if (config.kv_pages_memory_bytes > 0) options.kv_pages_bytes = config.kv_pages_memory_bytes;
  options.hot_prefixes = config.densify > 0;
  options.load_progress = LoadLog();
  const auto begin = std::chrono::steady_clock::now();
  spdlog::info("loading model file={} backend=\"{}\"", config.model, backend->description());
  SLIMFILL_ASSIGN_OR_RETURN(built.engine, engine::MakePrunedEngine(options, std::move(backend), *built.store, metrics));
  const engine::EngineInfo& info = built.engine->info();
  spdlog::info("model ready name=\"{}\" seconds={:.1f} context={} plan={} chat={} kv_store={}", info.model.name,
               std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), info.max_context,
               info.plan_name.empty() ? "off" : info.plan_name, info.chat_format, config.kv_store);
  return built;
}

}  // namespace slimfill::server
