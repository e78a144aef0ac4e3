#include "kvstore/service/app.h"

#include <signal.h>
#include <time.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "base/byte_size.h"
#include "base/clock.h"
#include "base/logging.h"
#include "base/metric_names.h"
#include "base/metrics.h"
#include "base/runtime.h"
#include "base/status.h"
#include "kvstore/core/local_store.h"
#include "kvstore/l2/redis_cluster.h"
#include "kvstore/l2/tiered_store.h"
#include "kvstore/service/kv_server.h"
#include "kvstore/service/options.h"

namespace slimfill::kvstore {
namespace {

constexpr absl::Duration kStopGrace = absl::Seconds(5);
constexpr absl::Duration kFlushGrace = absl::Seconds(3);

// Blocked before the first thread starts, so that no thread is interrupted and the main thread collects them.
sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

// Between signals it ends leases that ran out and brings the gauges up to date, once a second.
int WaitForStopSignal(const sigset_t& signals, LocalKvStore& store) {
  const timespec second{.tv_sec = 1, .tv_nsec = 0};
  while (true) {
    const int signal = sigtimedwait(&signals, nullptr, &second);
    if (signal > 0) return signal;
    SLIMFILL_CHECK(errno == EAGAIN || errno == EINTR);
    SLIMFILL_CHECK(store.Stats(absl::InfiniteFuture()).ok());
  }
}

absl::StatusOr<std::unique_ptr<LocalKvStore>> MakeStore(const KvStoreOptions& options, const Clock& clock,
                                                        Metrics& metrics) {
  LocalStoreOptions store = options.store;
  store.shared_memory = !options.listen.unix_path.empty();
  absl::StatusOr<std::unique_ptr<LocalKvStore>> made = LocalKvStore::Create(store, clock, &metrics);
  if (made.ok() || !store.shared_memory) return made;
  spdlog::warn("clients cannot read the store's memory and use gRPC: {}", std::string(made.status().message()));
  store.shared_memory = false;
  return LocalKvStore::Create(store, clock, &metrics);
}

absl::Status Serve(const KvStoreOptions& options, const sigset_t& signals) {
  const SystemClock clock;
  Metrics metrics;
  metrics.Set(metric::kBuildInfo, 1, {SLIMFILL_VERSION});
  SLIMFILL_ASSIGN_OR_RETURN(const std::unique_ptr<LocalKvStore> store, MakeStore(options, clock, metrics));
  std::unique_ptr<MetricsExposer> exposer;
  if (options.metrics_listen.has_value()) {
    SLIMFILL_ASSIGN_OR_RETURN(exposer, MetricsExposer::Start(FormatListenAddress(*options.metrics_listen), metrics));
    spdlog::info("serving metrics host={} port={}", options.metrics_listen->host, exposer->port());
  }
  std::unique_ptr<L2Store> l2;
  std::unique_ptr<TieredStore> tier;  // ends after the server, whose calls it answers
  if (options.l2.has_value()) {
    SLIMFILL_ASSIGN_OR_RETURN(l2, RedisCluster::Create(*options.l2, clock, &metrics));
    tier = std::make_unique<TieredStore>(*store, *l2, MakeTierOptions(options.l2->ttl), clock, &metrics);
    spdlog::info("second level address={} encrypted={} ttl={}", FormatL2Address(options.l2->address),
                 options.l2->key.has_value(), absl::FormatDuration(options.l2->ttl));
  }
  SLIMFILL_ASSIGN_OR_RETURN(const std::unique_ptr<KvServer> server,
                            KvServer::Start(options.listen, *store, clock, metrics, options.tls, tier.get()));
  spdlog::info("configuration memory={} lease_ttl={} version={}", FormatByteSize(options.store.memory_bytes),
               absl::FormatDuration(options.store.lease_ttl), SLIMFILL_VERSION);
  spdlog::info("listening address={}", FormatListenAddress(server->address()));
  const int signal = WaitForStopSignal(signals, *store);
  spdlog::info("stopping signal={}", signal);
  server->Stop(kStopGrace);
  if (tier != nullptr) tier->Flush(absl::Now() + kFlushGrace);  // what the next store of this tier begins with
  spdlog::info("stopped");
  return absl::OkStatus();
}

}  // namespace

int RunKvStore(int argc, const char* const* argv) {
  SetUpRuntime();
  const CommandLine command_line = ParseCommandLine(argc, argv);
  if (!command_line.options.has_value()) return command_line.exit_code;
  const sigset_t signals = BlockStopSignals();
  absl::Status status = InitLogging("slimfill-kvstore", command_line.options->log_level);
  if (status.ok()) status = Serve(*command_line.options, signals);
  if (status.ok()) return EXIT_SUCCESS;
  spdlog::error("{}", std::string(status.message()));
  return EXIT_FAILURE;
}

}  // namespace slimfill::kvstore
