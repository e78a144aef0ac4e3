#include "kvstore/l2/l2_options.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace slimfill::kvstore {
namespace {

constexpr absl::Duration kMinTtl = absl::Seconds(1), kMaxTtl = absl::Hours(24 * 365);

absl::Status Wrong(absl::string_view flag, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", what));
}

// Flags that mean nothing without another.
absl::Status CheckCompany(const L2Settings& settings) {
  const std::pair<const char*, bool> of_l2[] = {{"--l2-tls-ca", !settings.tls_ca.empty()},
                                                {"--l2-tls-cert", !settings.tls_cert.empty()},
                                                {"--l2-tls-key", !settings.tls_key.empty()},
                                                {"--l2-user", !settings.user.empty()},
                                                {"--l2-password-file", !settings.password_file.empty()},
                                                {"--l2-key-file", !settings.key_file.empty()}};
  for (const auto& [flag, given] : of_l2) {
    if (given && settings.l2.empty()) return Wrong(flag, "there is no L2 to use it for: give its address with --l2");
  }
  if (settings.tls_cert.empty() != settings.tls_key.empty()) {
    return Wrong("--l2-tls-cert", "a certificate and its key belong together: give --l2-tls-cert and --l2-tls-key");
  }
  if (!settings.user.empty() && settings.password_file.empty() && settings.password.empty()) {
    return Wrong("--l2-user", absl::StrCat("user '", settings.user, "' has no password: give --l2-password-file"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadPassword(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  if (file) text << file.rdbuf();
  const std::string password(absl::StripTrailingAsciiWhitespace(text.str()));
  if (!password.empty()) return password;
  return Wrong("--l2-password-file",
               absl::StrCat("'", path, "' ", file ? "is empty" : "cannot be read", ": give a file with the password"));
}

absl::StatusOr<absl::Duration> ParseTtl(const std::string& text) {
  absl::Duration ttl;
  if (!absl::ParseDuration(text, &ttl) || ttl < kMinTtl || ttl > kMaxTtl) {
    return Wrong("--l2-ttl", absl::StrCat("'", text,
                                          "' is no duration from 1s to 8760h: write a number with s, m or h, "
                                          "as in 24h"));
  }
  return ttl;
}

// What an L2 on another machine must not do without: values show what was in a prompt.
absl::Status CheckPrivacy(const RedisOptions& options) {
  const bool near = std::all_of(options.address.seeds.begin(), options.address.seeds.end(),
                                [](const ListenAddress& seed) { return seed.loopback; });
  if (near || options.address.tls || options.key.has_value()) return absl::OkStatus();
  return Wrong("--l2", absl::StrCat(FormatL2Address(options.address),
                                    " is on another machine, and values would cross the network and lie there "
                                    "unencrypted: give --l2-key-file, and use rediss:// where the network is shared"));
}

}  // namespace

absl::StatusOr<std::optional<RedisOptions>> InterpretL2(const L2Settings& settings) {
  SLIMFILL_RETURN_IF_ERROR(CheckCompany(settings));
  SLIMFILL_ASSIGN_OR_RETURN(const absl::Duration ttl, ParseTtl(settings.ttl));
  if (settings.l2.empty()) return std::nullopt;
  RedisOptions options;
  absl::StatusOr<L2Address> address = ParseL2Address(settings.l2);
  if (!address.ok()) return Wrong("--l2", address.status().message());
  options.address = *std::move(address);
  options.tls = {.ca = settings.tls_ca, .cert = settings.tls_cert, .key = settings.tls_key};
  if (!options.address.tls && !(settings.tls_ca.empty() && settings.tls_cert.empty())) {
    return Wrong(settings.tls_ca.empty() ? "--l2-tls-cert" : "--l2-tls-ca",
                 absl::StrCat(settings.l2, " is not spoken to by TLS: write rediss:// for an L2 that is"));
  }
  options.user = settings.user;
  options.password = settings.password;
  if (!settings.password_file.empty()) {
    SLIMFILL_ASSIGN_OR_RETURN(options.password, ReadPassword(settings.password_file));
  }
  if (!settings.key_file.empty()) {
    const absl::StatusOr<SealKey> key = ReadSealKey(settings.key_file);
    if (!key.ok()) return Wrong("--l2-key-file", key.status().message());
    options.key = *key;
  }
  options.ttl = ttl;
  SLIMFILL_RETURN_IF_ERROR(CheckPrivacy(options));
  return options;
}

}  // namespace slimfill::kvstore
