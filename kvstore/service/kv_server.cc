#include "kvstore/service/kv_server.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unix_socket.h"
#include "google/protobuf/generated_message_reflection.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "kvstore/service/attach_tokens.h"
#include "kvstore/service/kv_service.h"
#include "kvstore/service/shm_server.h"
#include "kvstore/shm/protocol.h"

namespace slimfill::kvstore {
namespace {

constexpr int kMaxReceiveBytes = 4 << 20;
constexpr int kMaxStreamsPerConnection = 256;
constexpr int kMaxSyncThreads = 16;  // reflection; our own calls run on callbacks
constexpr int kKeepaliveMs = 30000;
constexpr int kKeepaliveTimeoutMs = 10000;
constexpr absl::Duration kHangUpTime = absl::Milliseconds(250);
constexpr int kMinClientPingIntervalMs = 5000;

void Configure(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second store on our port must fail, not share it
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinClientPingIntervalMs);
  builder.SetResourceQuota(grpc::ResourceQuota("slimfill-kvstore").SetMaxThreads(kMaxSyncThreads));
}

std::shared_ptr<grpc::ServerCredentials> Credentials(const std::optional<MutualTls>& tls) {
  if (!tls.has_value()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_key_cert_pairs.push_back({.private_key = tls->key, .cert_chain = tls->certificate});
  options.pem_root_certs = tls->peer_ca;
  return grpc::SslServerCredentials(options);
}

}  // namespace

struct KvServer::Impl {
  Impl(LocalKvStore& store, bool attachable, const Clock& clock, Metrics& metrics, TieredStore* tier)
      : tokens(clock), service(store, attachable ? &tokens : nullptr, clock, metrics, tier) {}

  ListenAddress address;
  AttachTokens tokens;
  KvService service;
  std::unique_ptr<ShmServer> shm;        // null when the store's memory is not shared here
  std::unique_ptr<grpc::Server> server;  // destroyed before the service it calls
};

KvServer::KvServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

KvServer::~KvServer() { Stop(absl::ZeroDuration()); }

const ListenAddress& KvServer::address() const { return impl_->address; }

absl::StatusOr<std::unique_ptr<KvServer>> KvServer::Start(const ListenAddress& listen, LocalKvStore& store,
                                                          const Clock& clock, Metrics& metrics,
                                                          const std::optional<MutualTls>& tls, TieredStore* tier) {
  // Without a matching shutdown: gRPC 1.51 may wait 10 s for its own backup poller when its last user goes.
  grpc_init();
  // Whoever reaches a unix socket is on this machine.
  const bool attachable = !listen.unix_path.empty() && store.slab().file() >= 0;
  auto impl = std::make_unique<Impl>(store, attachable, clock, metrics, tier);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // The library's health service brings no descriptor: without this reflection names it but cannot describe it.
  google::protobuf::LinkMessageReflection<grpc::health::v1::HealthCheckRequest>();
  if (!listen.unix_path.empty()) SLIMFILL_RETURN_IF_ERROR(PrepareUnixSocket(listen.unix_path));
  grpc::ServerBuilder builder;
  Configure(builder);
  int port = 0;
  builder.AddListeningPort(FormatListenAddress(listen), Credentials(tls), &port);
  builder.RegisterService(&impl->service);
  {
    const OwnerOnlyFiles guard;  // a unix socket is no way in for other users
    impl->server = builder.BuildAndStart();
  }
  if (impl->server == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", FormatListenAddress(listen),
                                               ": the port is in use, the host is not an address of this machine, or "
                                               "the TLS files do not fit together; "
                                               "choose another with --listen (port 0 picks a free one)"));
  }
  impl->address = listen;
  impl->address.port = static_cast<uint16_t>(port);
  if (attachable) {
    SLIMFILL_ASSIGN_OR_RETURN(
        impl->shm, ShmServer::Start(shm::SocketBeside(listen.unix_path), store, impl->tokens, clock, metrics));
  }
  grpc::HealthCheckServiceInterface* health = impl->server->GetHealthCheckService();
  for (const char* name : {v1::KvStoreService::service_full_name(), "readiness", "liveness"}) {
    health->SetServingStatus(name, true);
  }
  return std::unique_ptr<KvServer>(new KvServer(std::move(impl)));
}

void KvServer::Stop(absl::Duration grace) {
  grpc::HealthCheckServiceInterface* health = impl_->server->GetHealthCheckService();
  for (const char* name : {"", v1::KvStoreService::service_full_name(), "readiness"}) {
    health->SetServingStatus(name, false);
  }
  impl_->service.Drain(grace);
  impl_->shm.reset();
  // Idle clients may take as long as this allows to hang up, and unary calls need no more to end.
  impl_->server->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(std::min(grace, kHangUpTime)));
}

}  // namespace slimfill::kvstore
