// The one place where our statuses become what clients see: code, text and google.rpc details.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace slimfill::server {

// INVALID_ARGUMENT about one field of the request, named by its path (sampling.top_p).
absl::Status FieldError(absl::string_view field, absl::string_view description);
// NOT_FOUND for a model that this server does not serve.
absl::Status ModelNotFound(absl::string_view name, absl::string_view served);
// Names the cause for programs, in UPPER_SNAKE_CASE; a status without one gets its code's usual reason.
absl::Status WithReason(absl::Status status, absl::string_view reason);

struct ClientError {
  int code = 0;
  std::string message;
  std::string details;                        // serialised google.rpc.Status
  std::optional<absl::Duration> retry_after;  // for the grpc-retry-pushback-ms trailer
};

// What the client may know of `status`. INTERNAL and its like become a text with an id, under which the log has the
// rest.
ClientError ToClientError(const absl::Status& status);

}  // namespace slimfill::server
