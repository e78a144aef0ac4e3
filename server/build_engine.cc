#include "server/build_engine.h"

#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/pem_file.h"
#include "base/status.h"
#include "engine/ops/backend_factory.h"
#include "engine/pruned_engine.h"
#include "kvstore/client/connect.h"
#include "kvstore/core/local_store.h"
#include "kvstore/l2/l2_options.h"
#include "kvstore/l2/redis_cluster.h"
#include "kvstore/l2/tiered_store.h"

namespace slimfill::server {
namespace {

absl::StatusOr<std::unique_ptr<kvstore::KvStore>> MakeStore(const ServerConfig& config, Metrics& metrics,
                                                            Clock& clock) {
  if (config.kv_store != "embedded") {
    if (!config.l2.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--l2 ", config.l2, " is for the embedded store: give it to the slimfill-kvstore at --kv-store"));
    }
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
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<kvstore::LocalKvStore> store,
                            kvstore::LocalKvStore::Create(options, clock, &metrics));
  SLIMFILL_ASSIGN_OR_RETURN(const std::optional<kvstore::RedisOptions> l2_options,
                            kvstore::InterpretL2({.l2 = config.l2,
                                                  .tls_ca = config.l2_tls_ca,
                                                  .tls_cert = config.l2_tls_cert,
                                                  .tls_key = config.l2_tls_key,
                                                  .user = config.l2_user,
                                                  .password_file = config.l2_password_file,
                                                  .key_file = config.l2_key_file,
                                                  .ttl = absl::FormatDuration(config.l2_ttl)}));
  if (!l2_options.has_value()) return store;
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<kvstore::RedisCluster> l2,
                            kvstore::RedisCluster::Create(*l2_options, clock, &metrics));
  return kvstore::MakeTieredStore(std::move(store), std::move(l2), kvstore::MakeTierOptions(l2_options->ttl), clock,
                                  &metrics);
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
