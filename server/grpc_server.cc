#include "server/grpc_server.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/listen_address.h"
#include "base/pem_file.h"
#include "base/status.h"
#include "base/unix_socket.h"
#include "google/protobuf/generated_message_reflection.h"
#include "grpc/grpc.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/impl/server_builder_plugin.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace slimfill::server {
namespace {

// What a connection may cost. HTTP/2's known abuses (CVE-2023-33953, CVE-2023-44487) live on the absence of these.
constexpr int kMaxMetadataBytes = 16 * 1024;
constexpr int kMaxStreamsPerConnection = 256;
constexpr int kMaxConnectionIdleMs = 10 * 60 * 1000;
constexpr int kMaxConnectionAgeMs = 60 * 60 * 1000;
constexpr int kConnectionAgeGraceMs = 60 * 60 * 1000;  // longer than any generation
constexpr int kMinPingIntervalMs = 10 * 1000;
// Finds peers that vanished without a word.
constexpr int kKeepaliveMs = 60 * 1000;
constexpr int kKeepaliveTimeoutMs = 20 * 1000;
// Received messages wait in memory until they are parsed: this many of the largest size.
constexpr size_t kMessagesInMemory = 8;

// Health of these follows readiness; that of "liveness" does not. In this order, so that "readiness" speaks for all.
const char* const kReadinessServices[] = {"", "slimfill.v1.InferenceService", "readiness"};

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Credentials(const ServerConfig& config) {
  if (config.tls_cert.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options;
  grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
  SLIMFILL_ASSIGN_OR_RETURN(pair.private_key, ReadPemFile("--tls-key", config.tls_key));
  SLIMFILL_ASSIGN_OR_RETURN(pair.cert_chain, ReadPemFile("--tls-cert", config.tls_cert));
  options.pem_key_cert_pairs.push_back(std::move(pair));
  if (!config.tls_client_ca.empty()) {
    SLIMFILL_ASSIGN_OR_RETURN(options.pem_root_certs, ReadPemFile("--tls-client-ca", config.tls_client_ca));
    options.client_certificate_request = GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  }
  return grpc::SslServerCredentials(options);
}

void SetLimits(const ServerConfig& config, grpc::ServerBuilder& builder) {
  const int max_message_bytes = static_cast<int>(config.max_message_mib << 20) - 1;  // 1024 MiB stay below INT_MAX
  builder.SetMaxReceiveMessageSize(max_message_bytes);
  builder.SetMaxSendMessageSize(max_message_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kMaxConnectionIdleMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, kMaxConnectionAgeMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, kConnectionAgeGraceMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Otherwise a second server on the same port would start and take half of the connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  grpc::ResourceQuota quota("slimfill-server");
  quota.Resize(kMessagesInMemory * (static_cast<size_t>(config.max_message_mib) << 20));
  builder.SetResourceQuota(quota);
}

// The library adds reflection to every server of a process that links it.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* arguments) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

std::string ReachableAddress(ListenAddress listen, int port) {
  listen.port = static_cast<uint16_t>(port);  // without meaning for a unix socket
  return FormatListenAddress(listen);
}

}  // namespace

GrpcServer::GrpcServer(std::unique_ptr<grpc::Server> server, std::string address)
    : server_(std::move(server)), address_(std::move(address)) {}

GrpcServer::~GrpcServer() { Shutdown(absl::ZeroDuration()); }

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const ServerConfig& config, grpc::Service& service) {
  // Without a matching shutdown: gRPC 1.51 may wait 10 s for its own backup poller when its last user goes.
  grpc_init();
  grpc::EnableDefaultHealthCheckService(true);  // the library has a switch of the whole process only
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // The library's health service brings no descriptor: without this reflection names it but cannot describe it.
  google::protobuf::LinkMessageReflection<grpc::health::v1::HealthCheckRequest>();
  SLIMFILL_ASSIGN_OR_RETURN(auto credentials, Credentials(config));
  SLIMFILL_ASSIGN_OR_RETURN(const ListenAddress listen, ParseEndpoint(config.listen));
  if (!listen.unix_path.empty()) SLIMFILL_RETURN_IF_ERROR(PrepareUnixSocket(listen.unix_path));
  grpc::ServerBuilder builder;
  SetLimits(config, builder);
  if (!config.reflection) builder.SetOption(std::make_unique<WithoutReflection>());
  int port = 0;
  builder.AddListeningPort(config.listen, std::move(credentials), &port);
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server;
  {
    const OwnerOnlyFiles guard;  // a unix socket is no way in for other users
    server = builder.BuildAndStart();
  }
  if (server == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", config.listen,
                                               ": the address is in use, not this machine's, or the TLS files do not "
                                               "fit together; choose a free one with --listen"));
  }
  std::unique_ptr<GrpcServer> started(new GrpcServer(std::move(server), ReachableAddress(listen, port)));
  started->server_->GetHealthCheckService()->SetServingStatus("liveness", true);
  started->SetReady(false);
  return started;
}

void GrpcServer::SetReady(bool ready) {
  for (const char* name : kReadinessServices) server_->GetHealthCheckService()->SetServingStatus(name, ready);
}

void GrpcServer::Shutdown(absl::Duration grace) {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_->Wait();
}

}  // namespace slimfill::server
