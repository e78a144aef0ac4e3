// Where an L2 is: redis://HOST:PORT[,HOST:PORT...], rediss:// for TLS, or unix:PATH of a server on this machine.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/listen_address.h"

namespace slimfill::kvstore {

struct L2Address {
  // Any nodes of one cluster, or one server without cluster mode. The others are learned from them.
  std::vector<ListenAddress> seeds;
  bool tls = false;
};

// INVALID_ARGUMENT names what is wrong and shows the form. User names and passwords do not belong into an address.
absl::StatusOr<L2Address> ParseL2Address(absl::string_view text);

std::string FormatL2Address(const L2Address& address);

}  // namespace slimfill::kvstore
