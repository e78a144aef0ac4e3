// HOST:PORT that a program listens on.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace slimfill {

struct ListenAddress {
  std::string host;  // without brackets
  uint16_t port = 0;
  bool loopback = false;  // 127.0.0.0/8, ::1 or localhost: reachable from this machine only
};

// IPv6 hosts stand in brackets. INVALID_ARGUMENT names what is wrong and shows the form.
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text);

// HOST:PORT, with brackets where they are needed.
std::string FormatListenAddress(const ListenAddress& address);

}  // namespace slimfill
