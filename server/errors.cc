#include "server/errors.h"

#include <random>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/optional.h"
#include "base/logging.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace slimfill::server {
namespace {

constexpr char kDomain[] = "slimfill";
// Payloads of absl::Status that carry what the text says, for programs.
constexpr char kReasonPayload[] = "slimfill/reason";
constexpr char kFieldPayload[] = "slimfill/field";
constexpr char kModelPayload[] = "slimfill/model";

// gRPC passes messages in a header; longer ones would eat into the peer's metadata limit.
constexpr size_t kMaxMessageBytes = 1024;

std::string Payload(const absl::Status& status, absl::string_view key) {
  const absl::optional<absl::Cord> payload = status.GetPayload(key);
  return payload.has_value() ? std::string(*payload) : std::string();
}

const char* UsualReason(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return "INVALID_REQUEST";
    case absl::StatusCode::kNotFound:
      return "NOT_FOUND";
    case absl::StatusCode::kUnauthenticated:
      return "UNAUTHENTICATED";
    case absl::StatusCode::kPermissionDenied:
      return "PERMISSION_DENIED";
    case absl::StatusCode::kResourceExhausted:
      return "OVERLOADED";
    case absl::StatusCode::kDeadlineExceeded:
      return "DEADLINE_TOO_SHORT";
    case absl::StatusCode::kUnavailable:
      return "NOT_SERVING";
    case absl::StatusCode::kCancelled:
      return "CANCELLED";
    case absl::StatusCode::kUnimplemented:
      return "UNIMPLEMENTED";
    default:
      return "INTERNAL";
  }
}

// How long a client should wait before it tries again; none where that cannot help.
std::optional<absl::Duration> RetryAfter(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kResourceExhausted:
      return absl::Seconds(2);
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnavailable:
      return absl::Seconds(1);
    default:
      return std::nullopt;
  }
}

bool IsOurBug(absl::StatusCode code) {
  return code == absl::StatusCode::kInternal || code == absl::StatusCode::kUnknown ||
         code == absl::StatusCode::kDataLoss || code == absl::StatusCode::kAborted ||
         code == absl::StatusCode::kFailedPrecondition || code == absl::StatusCode::kAlreadyExists;
}

absl::Status HideInternals(const absl::Status& status) {
  std::random_device random;
  const std::string id = absl::StrFormat("%08x%08x", random(), random());
  spdlog::error("internal_error id={} status=\"{}\"", id, status.ToString());
  return absl::InternalError(absl::StrCat("internal error; the server's log has the details under id ", id));
}

template <typename Detail>
void Attach(google::rpc::Status& to, const Detail& detail) {
  to.add_details()->PackFrom(detail);
}

void AttachDetails(const absl::Status& status, std::optional<absl::Duration> retry_after, google::rpc::Status& out) {
  google::rpc::ErrorInfo info;
  const std::string reason = Payload(status, kReasonPayload);
  info.set_reason(reason.empty() ? UsualReason(status.code()) : reason);
  info.set_domain(kDomain);
  Attach(out, info);

  if (status.code() == absl::StatusCode::kInvalidArgument) {
    google::rpc::BadRequest bad_request;
    google::rpc::BadRequest::FieldViolation& violation = *bad_request.add_field_violations();
    violation.set_field(Payload(status, kFieldPayload));
    violation.set_description(out.message());
    Attach(out, bad_request);
  }
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    google::rpc::QuotaFailure quota;
    google::rpc::QuotaFailure::Violation& violation = *quota.add_violations();
    violation.set_subject("server");
    violation.set_description(out.message());
    Attach(out, quota);
  }
  if (const std::string model = Payload(status, kModelPayload); !model.empty()) {
    google::rpc::ResourceInfo resource;
    resource.set_resource_type("model");
    resource.set_resource_name(model);
    resource.set_description(out.message());
    Attach(out, resource);
  }
  if (retry_after.has_value()) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(*retry_after));
    Attach(out, retry);
  }
}

}  // namespace

absl::Status FieldError(absl::string_view field, absl::string_view description) {
  absl::Status status = absl::InvalidArgumentError(absl::StrCat(field, ": ", description));
  status.SetPayload(kReasonPayload, absl::Cord("INVALID_FIELD"));
  status.SetPayload(kFieldPayload, absl::Cord(field));
  return status;
}

absl::Status ModelNotFound(absl::string_view name, absl::string_view served) {
  constexpr size_t kMaxNameBytes = 128;  // of the caller's text that we repeat
  absl::Status status = absl::NotFoundError(absl::StrCat(
      "model '", name.substr(0, kMaxNameBytes), "' is not served here: leave `model` empty or use '", served, "'"));
  status.SetPayload(kReasonPayload, absl::Cord("MODEL_NOT_FOUND"));
  status.SetPayload(kModelPayload, absl::Cord(name.substr(0, kMaxNameBytes)));
  return status;
}

absl::Status WithReason(absl::Status status, absl::string_view reason) {
  status.SetPayload(kReasonPayload, absl::Cord(reason));
  return status;
}

ClientError ToClientError(const absl::Status& original) {
  const absl::Status status = IsOurBug(original.code()) ? HideInternals(original) : original;
  ClientError error;
  error.code = static_cast<int>(status.code());  // absl's codes are gRPC's
  error.message = std::string(status.message().substr(0, kMaxMessageBytes));
  error.retry_after = RetryAfter(status.code());
  google::rpc::Status rpc_status;
  rpc_status.set_code(error.code);
  rpc_status.set_message(error.message);
  AttachDetails(status, error.retry_after, rpc_status);
  error.details = rpc_status.SerializeAsString();
  return error;
}

}  // namespace slimfill::server
