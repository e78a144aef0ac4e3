// One generation, from the parsed request to its last event. What differs between the streaming RPC and the unary ones
// is only what becomes of the events (generation_stream.cc, generation_once.cc).
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "scheduler/scheduler.h"
#include "server/call.h"
#include "server/convert.h"
#include "slimfill/v1/inference.pb.h"

namespace slimfill::server {

using ParseInput = absl::StatusOr<GenerateInput> (*)(const grpc::ByteBuffer& bytes, int vocab);

// Threads: Begin on a gRPC thread, then the worker pool, then the scheduler's thread; Cancel on any.
class Generation : public scheduler::EventSink, public std::enable_shared_from_this<Generation> {
 public:
  Generation(const ServiceContext& service, grpc::CallbackServerContext& context, const char* method)
      : call_(service, context, method) {}

  // Has the request parsed, checked, tokenised and submitted by the worker pool. `bytes` must live until the call ends.
  void Begin(const grpc::ByteBuffer& bytes, ParseInput parse);
  // The client went away, or cannot be served any more.
  void Cancel();

  void OnStarted(int64_t cached_tokens) override { cached_tokens_ = cached_tokens; }

 protected:
  // One of these two is called, once. The scheduler's events may come before OnAdmitted; none come with OnRefused.
  virtual void OnAdmitted(const scheduler::Admission& admission) = 0;
  virtual void OnRefused(const absl::Status& status) = 0;

  Call& call() { return call_; }
  // Of the request; set before it is submitted.
  int64_t prompt_tokens() const { return prompt_tokens_; }
  uint64_t seed() const { return seed_; }
  bool wants_logprobs() const { return wants_logprobs_; }
  int64_t cached_tokens() const { return cached_tokens_; }

 private:
  absl::Status Submit(const grpc::ByteBuffer& bytes, ParseInput parse);
  absl::StatusOr<scheduler::Request> Prepare(const grpc::ByteBuffer& bytes, ParseInput parse);

  Call call_;
  int64_t prompt_tokens_ = 0;
  uint64_t seed_ = 0;
  bool wants_logprobs_ = false;
  int64_t cached_tokens_ = 0;  // scheduler's thread only

  absl::Mutex mutex_;
  scheduler::RequestId id_ ABSL_GUARDED_BY(mutex_) = 0;
  bool submitted_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

// Each makes the reactor of one RPC, which owns itself.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartGenerate(const ServiceContext& service,
                                                          grpc::CallbackServerContext& context,
                                                          const grpc::ByteBuffer& request);
grpc::ServerUnaryReactor* StartGenerateOnce(const ServiceContext& service, grpc::CallbackServerContext& context,
                                            const grpc::ByteBuffer& request, grpc::ByteBuffer& response);
grpc::ServerUnaryReactor* StartFirstToken(const ServiceContext& service, grpc::CallbackServerContext& context,
                                          const grpc::ByteBuffer& request, grpc::ByteBuffer& response);

// Parses and converts a request message.
template <typename Message>
absl::StatusOr<GenerateInput> ParseGenerateInput(const grpc::ByteBuffer& bytes, int vocab) {
  Message message;
  if (absl::Status status = ParseMessage(bytes, message); !status.ok()) return status;
  return FromProto(std::move(message), vocab);
}

}  // namespace slimfill::server
