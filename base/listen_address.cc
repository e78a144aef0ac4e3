#include "base/listen_address.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace slimfill {
namespace {

bool IsLoopback(const std::string& host) {
  if (host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace

absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text) {
  const auto malformed = [text](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' ", what, ": write HOST:PORT, as in 127.0.0.1:7390 or [::1]:7390"));
  };
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return malformed("has no port");
  absl::string_view host = text.substr(0, colon);
  const bool bracketed = absl::ConsumePrefix(&host, "[");
  if (bracketed != absl::ConsumeSuffix(&host, "]")) return malformed("has an unmatched bracket");
  if (host.empty()) return malformed("has no host");
  if (!bracketed && host.find(':') != absl::string_view::npos) return malformed("has an IPv6 host without brackets");
  uint32_t port;
  if (!absl::SimpleAtoi(text.substr(colon + 1), &port) || port > std::numeric_limits<uint16_t>::max()) {
    return malformed("has a port outside 0 to 65535");
  }
  ListenAddress address{.host = std::string(host), .port = static_cast<uint16_t>(port)};
  address.loopback = IsLoopback(address.host);
  return address;
}

absl::StatusOr<ListenAddress> ParseEndpoint(absl::string_view text) {
  absl::string_view path = text;
  if (!absl::ConsumePrefix(&path, "unix:")) return ParseListenAddress(text);
  constexpr size_t kMaxPath = sizeof(sockaddr_un::sun_path) - 1;
  if (path.empty() || path.size() > kMaxPath) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' names no socket: write unix:PATH with a path of 1 to ",
                                                   kMaxPath, " bytes, as in unix:/run/slimfill/kvstore.sock"));
  }
  return ListenAddress{.loopback = true, .unix_path = std::string(path)};
}

std::string FormatListenAddress(const ListenAddress& address) {
  if (!address.unix_path.empty()) return absl::StrCat("unix:", address.unix_path);
  const bool v6 = address.host.find(':') != std::string::npos;
  return absl::StrCat(v6 ? "[" : "", address.host, v6 ? "]:" : ":", address.port);
}

}  // namespace slimfill
