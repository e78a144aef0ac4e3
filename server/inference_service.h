// slimfill.v1.InferenceService: which RPC is handled where. No logic of its own.
#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "server/call.h"

namespace grpc {
class Service;
}

namespace slimfill::server {

// What GetServerStatus says beside the scheduler's figures.
struct ServerFacts {
  std::string version;
  absl::Time started;
  int64_t max_queue = 0;
  int64_t max_running = 0;
  std::string kv_store;
};

// `context` is borrowed and must outlive the service.
std::unique_ptr<grpc::Service> MakeInferenceService(const ServiceContext& context, ServerFacts facts);

}  // namespace slimfill::server
