// The connection to a server, and what its errors mean to the person at the terminal.
#pragma once

#include <memory>
#include <string>

#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"
#include "nlohmann/json.hpp"
#include "slimfill/v1/inference.grpc.pb.h"

namespace slimfill::cli {

// Exit codes of the program; documented in --help.
enum ExitCode : int {
  kOk = 0,
  kOtherError = 1,
  kUsage = 2,         // wrong arguments, a file that cannot be read
  kNotReachable = 3,  // no server there
  kRefused = 4,       // the server does not accept this request
  kBusy = 5,          // overloaded or draining: try again
  kDeadline = 6,      // --timeout passed, or would have
};

struct Connection {
  std::string server = "127.0.0.1:8080";
  std::string token;
  std::string tls_ca;    // PEM file; TLS when given
  double timeout_s = 0;  // 0: none
};

using Stub = v1::InferenceService::Stub;

class Client {
 public:
  // Dials; nothing fails before the first call. Throws std::runtime_error when tls_ca cannot be read.
  explicit Client(const Connection& connection);

  Stub& stub() { return *stub_; }
  // A context with deadline and credentials.
  std::unique_ptr<grpc::ClientContext> NewContext() const;
  const Connection& connection() const { return connection_; }

 private:
  const Connection connection_;
  std::unique_ptr<Stub> stub_;
};

// An error in words with what to do about it, for JSON output, and as an exit code.
struct Problem {
  std::string code;  // UNAVAILABLE, ...
  std::string message;
  std::string reason;  // ErrorInfo's, may be empty
  std::string remedy;  // may be empty
  ExitCode exit_code = kOtherError;
};

Problem Explain(const grpc::Status& status, const Connection& connection);
Problem UsageProblem(std::string message);

// Prints to stderr, or as {"error": ...} to stdout, and returns the exit code.
int Report(const Problem& problem, bool json);

}  // namespace slimfill::cli
