// Where a program listens: HOST:PORT, or a unix socket for programs of the same machine.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace slimfill {

struct ListenAddress {
  std::string host;  // without brackets
  uint16_t port = 0;
  bool loopback = false;  // 127.0.0.0/8, ::1, localhost or a unix socket: reachable from this machine only
  std::string unix_path;  // of a unix socket, which has neither host nor port; otherwise empty
};

// HOST:PORT. IPv6 hosts stand in brackets. INVALID_ARGUMENT names what is wrong and shows the form.
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text);

// HOST:PORT or unix:PATH.
absl::StatusOr<ListenAddress> ParseEndpoint(absl::string_view text);

// HOST:PORT, with brackets where they are needed, or unix:PATH. gRPC reads the same forms.
std::string FormatListenAddress(const ListenAddress& address);

}  // namespace slimfill
