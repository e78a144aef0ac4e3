#include "cli/client.h"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <utility>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/grpc.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace slimfill::cli {
namespace {

std::shared_ptr<grpc::ChannelCredentials> Credentials(const std::string& tls_ca) {
  if (tls_ca.empty()) return grpc::InsecureChannelCredentials();
  std::ifstream file(tls_ca, std::ios::binary);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs.assign(std::istreambuf_iterator<char>(file), {});
  if (!file || options.pem_root_certs.empty()) {
    throw std::runtime_error("--tls-ca " + tls_ca + ": cannot be read: give a PEM file");
  }
  return grpc::SslCredentials(options);
}

const char* CodeName(grpc::StatusCode code) {
  static constexpr const char* kNames[] = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  const auto index = static_cast<size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "UNKNOWN";
}

std::string Reason(const std::string& details) {
  google::rpc::Status status;
  if (!status.ParseFromString(details)) return "";
  for (const auto& detail : status.details()) {
    google::rpc::ErrorInfo info;
    if (detail.UnpackTo(&info)) return info.reason();
  }
  return "";
}

// Errors of ours carry details; those without come from gRPC itself.
bool IsFromServer(const Problem& problem) { return !problem.reason.empty(); }

void AddRemedy(const grpc::Status& status, const Connection& connection, Problem& problem) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      problem.exit_code = IsFromServer(problem) ? kBusy : kNotReachable;
      if (problem.exit_code == kNotReachable) {
        problem.message = "no slimfill server answers at " + connection.server + " (" + problem.message + ")";
        problem.remedy = "start one with 'slimfill-server', or name another with --server HOST:PORT";
      }
      break;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      problem.exit_code = IsFromServer(problem) ? kBusy : kRefused;
      problem.remedy = IsFromServer(problem) ? "try again in a few seconds"
                                             : "send less text, or start the server with a higher --max-message-mib";
      break;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      problem.exit_code = kDeadline;
      problem.remedy = "allow more time with --timeout SECONDS";
      break;
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      problem.exit_code = kRefused;
      problem.remedy = "give a token with --token or SLIMFILL_TOKEN";
      break;
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::OUT_OF_RANGE:
      problem.exit_code = kRefused;
      break;
    case grpc::StatusCode::UNIMPLEMENTED:
      problem.remedy = connection.server + " is another kind of gRPC server, or an older slimfill-server";
      break;
    default:
      break;
  }
}

}  // namespace

Client::Client(const Connection& connection) : connection_(connection) {
  // Without a matching shutdown: gRPC 1.51 may wait 10 s for its own backup poller when its last user goes.
  grpc_init();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(std::numeric_limits<int>::max());
  arguments.SetMaxSendMessageSize(std::numeric_limits<int>::max());
  stub_ = v1::InferenceService::NewStub(
      grpc::CreateCustomChannel(connection.server, Credentials(connection.tls_ca), arguments));
}

std::unique_ptr<grpc::ClientContext> Client::NewContext() const {
  auto context = std::make_unique<grpc::ClientContext>();
  if (connection_.timeout_s > 0) {
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::milliseconds(static_cast<int64_t>(connection_.timeout_s * 1e3)));
  }
  if (!connection_.token.empty()) context->AddMetadata("authorization", "Bearer " + connection_.token);
  return context;
}

Problem Explain(const grpc::Status& status, const Connection& connection) {
  Problem problem;
  problem.code = CodeName(status.error_code());
  problem.message = status.error_message();
  problem.reason = Reason(status.error_details());
  AddRemedy(status, connection, problem);
  return problem;
}

Problem UsageProblem(std::string message) { return {"USAGE", std::move(message), "", "", kUsage}; }

int Report(const Problem& problem, bool json) {
  if (json) {
    nlohmann::json error = {{"code", problem.code}, {"message", problem.message}};
    if (!problem.reason.empty()) error["reason"] = problem.reason;
    if (!problem.remedy.empty()) error["remedy"] = problem.remedy;
    std::printf(
        "%s\n",
        nlohmann::json{{"error", error}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else {
    std::fprintf(stderr, "slimfill: %s\n", problem.message.c_str());
    if (!problem.remedy.empty()) std::fprintf(stderr, "  %s\n", problem.remedy.c_str());
  }
  return problem.exit_code;
}

}  // namespace slimfill::cli
