// What every RPC has, whatever its type: caller, deadline, trace id, its end in metrics and log. And the raw bytes of
// its messages: requests are parsed here rather than by gRPC, whose own answer to a malformed one is UNIMPLEMENTED.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "engine/engine.h"
#include "google/protobuf/message.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"
#include "server/auth.h"
#include "server/call_count.h"
#include "server/prompt.h"
#include "server/scheduler_gate.h"
#include "server/worker_pool.h"

namespace slimfill::server {

// What the services work with; all borrowed.
struct ServiceContext {
  engine::Engine& engine;
  SchedulerGate& scheduler;
  Authenticator& authenticator;
  WorkerPool& workers;
  const PromptTokenizer& prompts;
  CallCount& calls;
  Metrics& metrics;
  const Clock& clock;
};

// One RPC in progress. Destroyed with its reactor, after gRPC has sent everything.
class Call {
 public:
  Call(const ServiceContext& service, grpc::CallbackServerContext& context, const char* method);
  ~Call() { service_.calls.End(); }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // The caller's tenant; UNAUTHENTICATED.
  absl::StatusOr<std::string> Authenticate() const;
  // NOT_FOUND unless `model` is empty or the one that is served.
  absl::Status CheckModel(const std::string& model) const;

  // Counts and logs the call's end and turns `status` into what the client gets. Once, before the reactor's Finish.
  grpc::Status End(const absl::Status& status);

  // Whether End logs a failure: not while the scheduler has the request, which writes a line about each of its own.
  void set_logs_failure(bool logs) { logs_failure_ = logs; }

  const ServiceContext& service() const { return service_; }
  const char* method() const { return method_; }
  absl::Time arrival() const { return arrival_; }
  absl::Time deadline() const { return deadline_; }
  const std::string& trace_id() const { return trace_id_; }

 private:
  absl::string_view Metadata(const char* key) const;

  const ServiceContext& service_;
  grpc::CallbackServerContext& context_;
  const char* const method_;
  const absl::Time arrival_;
  absl::Time deadline_ = absl::InfiniteFuture();  // by service_.clock
  std::string trace_id_;
  bool logs_failure_ = true;
};

// INVALID_ARGUMENT for what is not such a message, strings that are not UTF-8 included.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message& message);
grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

}  // namespace slimfill::server
