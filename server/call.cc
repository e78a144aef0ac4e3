#include "server/call.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/logging.h"
#include "base/metric_names.h"
#include "base/status.h"
#include "google/protobuf/stubs/common.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/security/auth_context.h"
#include "server/errors.h"

namespace slimfill::server {
namespace {

// The trace id of a W3C traceparent (version-traceid-parentid-flags), or "".
std::string TraceId(absl::string_view traceparent) {
  const std::vector<absl::string_view> parts = absl::StrSplit(traceparent, absl::MaxSplits('-', 4));
  if (parts.size() < 4 || parts[1].size() != 32) return "";
  const bool hex = std::all_of(parts[1].begin(), parts[1].end(), [](char c) { return absl::ascii_isxdigit(c); });
  return hex ? std::string(parts[1]) : "";
}

// The context's deadline is on the system's clock; ours may be another.
absl::Time DeadlineOn(const Clock& clock, const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return clock.Now() + (absl::FromChrono(deadline) - absl::Now());
}

}  // namespace

Call::Call(const ServiceContext& service, grpc::CallbackServerContext& context, const char* method)
    : service_(service),
      context_(context),
      method_(method),
      arrival_(service.clock.Now()),
      deadline_(DeadlineOn(service.clock, context)),
      trace_id_(TraceId(Metadata("traceparent"))) {
  service_.calls.Begin();
}

absl::string_view Call::Metadata(const char* key) const {
  const auto& metadata = context_.client_metadata();
  const auto found = metadata.find(key);
  if (found == metadata.end()) return "";
  return absl::string_view(found->second.data(), found->second.size());
}

absl::StatusOr<std::string> Call::Authenticate() const {
  std::string certificate_identity;
  const auto auth_context = context_.auth_context();
  if (auth_context != nullptr && auth_context->IsPeerAuthenticated()) {
    const auto identity = auth_context->GetPeerIdentity();
    if (!identity.empty()) certificate_identity.assign(identity.front().data(), identity.front().size());
  }
  return service_.authenticator.Authenticate(Metadata("authorization"), certificate_identity);
}

absl::Status Call::CheckModel(const std::string& model) const {
  const engine::EngineInfo& info = service_.engine.info();
  const bool served =
      model.empty() || model == info.model.name || model == std::filesystem::path(info.model_file).stem().string();
  return served ? absl::OkStatus() : ModelNotFound(model, info.model.name);
}

grpc::Status Call::End(const absl::Status& status) {
  service_.metrics.Add(metric::kRequests, {method_, absl::StatusCodeToString(status.code())});
  if (status.ok()) return grpc::Status::OK;
  const ClientError error = ToClientError(status);
  if (logs_failure_) {
    spdlog::info("rpc_failed method={} code={} trace_id={} message=\"{}\"", method_,
                 absl::StatusCodeToString(status.code()), trace_id_, error.message);
  }
  if (error.retry_after.has_value()) {
    context_.AddTrailingMetadata("grpc-retry-pushback-ms", absl::StrCat(absl::ToInt64Milliseconds(*error.retry_after)));
  }
  return grpc::Status(static_cast<grpc::StatusCode>(error.code), error.message, error.details);
}

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message& message) {
#if GOOGLE_PROTOBUF_VERSION < 3022000 || (GOOGLE_PROTOBUF_VERSION > 4000000 && GOOGLE_PROTOBUF_VERSION < 4022000)
  const google::protobuf::LogSilencer silencer;  // or clients could fill the log with their invalid UTF-8
#endif
  grpc::ByteBuffer copy = bytes;  // shares the bytes
  grpc::ProtoBufferReader reader(&copy);
  if (reader.status().ok() && message.ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  return WithReason(
      absl::InvalidArgumentError(absl::StrCat("the request is not a valid ", message.GetTypeName(),
                                              ": its encoding is broken, or a string in it is not valid UTF-8")),
      "MALFORMED_REQUEST");
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  const grpc::Status status =
      grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(message, &bytes, &own_buffer);
  SLIMFILL_CHECK(status.ok());
  return bytes;
}

}  // namespace slimfill::server
