// The gRPC port: listening, TLS, limits, health and reflection.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/config.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace slimfill::server {

// Thread safe.
class GrpcServer {
 public:
  // `service` is borrowed. Listens at once, liveness SERVING and readiness not. UNAVAILABLE when the address is taken,
  // INVALID_ARGUMENT for TLS files that cannot be used; both name the flag.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const ServerConfig& config, grpc::Service& service);
  ~GrpcServer();

  // "host:port" as it is reachable, with the port that was chosen.
  const std::string& address() const { return address_; }
  // Readiness, and health of the server and its services. Liveness is SERVING as long as the server is.
  void SetReady(bool ready);
  // Stops listening; RPCs may go on for `grace` and are then cut off. Returns when all have ended.
  void Shutdown(absl::Duration grace);

 private:
  GrpcServer(std::unique_ptr<grpc::Server> server, std::string address);

  const std::unique_ptr<grpc::Server> server_;
  const std::string address_;
};

}  // namespace slimfill::server
