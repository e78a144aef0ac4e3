#include "server/app.h"

#include <algorithm>
#include <optional>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/metric_names.h"
#include "base/status.h"
#include "grpcpp/impl/service_type.h"
#include "scheduler/scheduler.h"
#include "server/auth.h"
#include "server/grpc_server.h"
#include "server/inference_service.h"
#include "server/prompt.h"
#include "server/scheduler_gate.h"
#include "server/worker_pool.h"

namespace slimfill::server {
namespace {

constexpr int kTokenizerThreads = 2;
// Requests that wait to be tokenised may hold so many times the largest message.
constexpr int64_t kWaitingMessages = 4;
// For answers to reach their clients when the drain's time is over.
constexpr absl::Duration kShutdownGrace = absl::Seconds(2);

scheduler::SchedulerOptions SchedulerOptionsOf(const ServerConfig& config) {
  scheduler::SchedulerOptions options;
  options.max_queued_requests = config.max_queue;
  options.max_queued_prompt_tokens = config.max_queue_tokens;
  options.max_running = config.max_running;
  options.randomized_dense_share = config.randomized_dense_share;
  options.idle_share = config.densify;
  options.seed = std::random_device()();
  return options;
}

std::string HostOf(const std::string& address) { return address.substr(0, address.rfind(':')); }

void SetInfoMetrics(const engine::EngineInfo& info, Metrics& metrics) {
  metrics.Set(metric::kBuildInfo, 1, {kVersion});
  metrics.Set(metric::kModelInfo, 1, {info.model.name, info.backend_name, info.plan_name});
}

}  // namespace

// In the order in which they are made; destroyed the other way round.
struct App::Parts {
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<Authenticator> authenticator;
  std::unique_ptr<PromptTokenizer> prompts;
  std::unique_ptr<scheduler::Scheduler> scheduler;
  std::unique_ptr<SchedulerGate> gate;
  CallCount calls;
  std::optional<ServiceContext> context;
  std::unique_ptr<WorkerPool> workers;  // its last jobs use the context
  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<MetricsExposer> exposer;
  std::string metrics_address;
  std::unique_ptr<GrpcServer> server;
  Clock* clock = nullptr;
};

App::App(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

App::~App() { Stop(absl::ZeroDuration()); }

const std::string& App::address() const { return parts_->server->address(); }
const std::string& App::metrics_address() const { return parts_->metrics_address; }

absl::StatusOr<std::unique_ptr<App>> App::Start(const ServerConfig& config, std::unique_ptr<engine::Engine> engine,
                                                Metrics& metrics, Clock& clock,
                                                std::function<void()> on_engine_failure) {
  auto parts = std::make_unique<Parts>();
  parts->clock = &clock;
  parts->engine = std::move(engine);
  SetInfoMetrics(parts->engine->info(), metrics);
  SLIMFILL_ASSIGN_OR_RETURN(parts->authenticator, Authenticator::Create(config.auth_tokens, clock));
  parts->prompts = std::make_unique<PromptTokenizer>(*parts->engine);
  scheduler::SchedulerOptions options = SchedulerOptionsOf(config);
  options.on_engine_failure = [on_engine_failure](const absl::Status& status) {
    spdlog::error("engine failed status=\"{}\"", std::string(status.message()));
    if (on_engine_failure) on_engine_failure();
  };
  parts->scheduler = scheduler::Scheduler::Create(options, *parts->engine, clock, metrics);
  parts->gate = std::make_unique<SchedulerGate>(*parts->scheduler);
  parts->workers = std::make_unique<WorkerPool>(kTokenizerThreads, config.max_queue,
                                                kWaitingMessages * (config.max_message_mib << 20));
  parts->context.emplace(ServiceContext{*parts->engine, *parts->gate, *parts->authenticator, *parts->workers,
                                        *parts->prompts, parts->calls, metrics, clock});
  parts->service = MakeInferenceService(*parts->context,
                                        {kVersion, clock.Now(), config.max_queue, config.max_running, config.kv_store});
  if (config.metrics_listen != "off") {
    SLIMFILL_ASSIGN_OR_RETURN(parts->exposer, MetricsExposer::Start(config.metrics_listen, metrics));
    parts->metrics_address = absl::StrCat(HostOf(config.metrics_listen), ":", parts->exposer->port());
  }
  SLIMFILL_ASSIGN_OR_RETURN(parts->server, GrpcServer::Start(config, *parts->service));
  parts->server->SetReady(true);
  spdlog::info("listening address={} metrics={}", parts->server->address(),
               parts->exposer == nullptr ? "off" : parts->metrics_address);
  return std::unique_ptr<App>(new App(std::move(parts)));
}

bool App::Stop(absl::Duration drain_timeout) {
  if (parts_->scheduler == nullptr) return true;
  const absl::Time deadline = parts_->clock->Now() + drain_timeout;
  parts_->server->SetReady(false);
  const bool drained = parts_->scheduler->Drain(deadline);
  spdlog::info("drained complete={}", drained);
  // The gate closes first: RPCs outlive the scheduler, which ends those that are left with UNAVAILABLE.
  parts_->gate->Close();
  parts_->scheduler.reset();
  parts_->calls.WaitForNone(std::max(kShutdownGrace, deadline - parts_->clock->Now()));
  parts_->server->Shutdown(kShutdownGrace);
  return drained;
}

}  // namespace slimfill::server
