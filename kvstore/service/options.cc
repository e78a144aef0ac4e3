#include "kvstore/service/options.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "base/pem_file.h"
#include "base/status.h"
#include "kvstore/l2/l2_options.h"

namespace slimfill::kvstore {
namespace {

constexpr int kUsageError = 2;

// The options as the user wrote them.
struct RawOptions {
  std::string listen = "127.0.0.1:7390";
  std::string memory = "4GiB";
  std::string tenant_memory = "all";
  std::string metrics_listen = "off";
  std::string lease_ttl = "10s";
  std::string log_level = "info";
  std::string tls_cert, tls_key, tls_client_ca;
  bool insecure_listen_any = false;
  L2Settings l2;
};

void Define(CLI::App& app, RawOptions& raw) {
  const auto add = [&app](const char* name, std::string& value, const char* help, const char* environment) {
    app.add_option(name, value, help)->envname(environment)->capture_default_str();
  };
  add("--listen", raw.listen, "HOST:PORT (port 0 picks a free one) or unix:PATH to serve on",
      "SLIMFILL_KVSTORE_LISTEN");
  add("--memory", raw.memory, "Memory for blocks, with KiB, MiB or GiB", "SLIMFILL_KVSTORE_MEMORY");
  add("--tenant-memory", raw.tenant_memory, "The most of it that one tenant's shared blocks may take, or all",
      "SLIMFILL_KVSTORE_TENANT_MEMORY");
  add("--metrics-listen", raw.metrics_listen, "HOST:PORT for Prometheus, as in 127.0.0.1:9391, or off",
      "SLIMFILL_KVSTORE_METRICS_LISTEN");
  add("--lease-ttl", raw.lease_ttl, "How long a lease lives without renewal", "SLIMFILL_KVSTORE_LEASE_TTL");
  add("--l2", raw.l2.l2,
      "A Redis or Valkey behind the memory: redis://HOST:PORT[,HOST:PORT...], rediss:// for TLS, or unix:PATH; "
      "default: none",
      "SLIMFILL_KVSTORE_L2");
  add("--l2-key-file", raw.l2.key_file, "File with the key that encrypts values in the L2: 32 hexadecimal digits",
      "SLIMFILL_KVSTORE_L2_KEY_FILE");
  add("--l2-ttl", raw.l2.ttl, "How long the L2 keeps a block", "SLIMFILL_KVSTORE_L2_TTL");
  add("--l2-user", raw.l2.user, "User of the L2; default: Redis' own default user", "SLIMFILL_KVSTORE_L2_USER");
  add("--l2-password-file", raw.l2.password_file,
      "File with the L2's password; without it the variable SLIMFILL_KVSTORE_L2_PASSWORD counts",
      "SLIMFILL_KVSTORE_L2_PASSWORD_FILE");
  add("--l2-tls-ca", raw.l2.tls_ca, "PEM file of the authority that the L2's certificate is of; default: the system's",
      "SLIMFILL_KVSTORE_L2_TLS_CA");
  add("--l2-tls-cert", raw.l2.tls_cert, "PEM file of the certificate to show to the L2",
      "SLIMFILL_KVSTORE_L2_TLS_CERT");
  add("--l2-tls-key", raw.l2.tls_key, "PEM file of its private key", "SLIMFILL_KVSTORE_L2_TLS_KEY");
  add("--tls-cert", raw.tls_cert, "PEM file of the certificate to show to clients", "SLIMFILL_KVSTORE_TLS_CERT");
  add("--tls-key", raw.tls_key, "PEM file of its private key", "SLIMFILL_KVSTORE_TLS_KEY");
  add("--tls-client-ca", raw.tls_client_ca, "PEM file of the authority whose certificates clients must show",
      "SLIMFILL_KVSTORE_TLS_CLIENT_CA");
  add("--log-level", raw.log_level, "trace, debug, info, warning, error or off", "SLIMFILL_KVSTORE_LOG_LEVEL");
  app.add_flag("--insecure-listen-any", raw.insecure_listen_any,
               "Allow addresses that other machines reach: without --tls-cert, no authentication and no encryption")
      ->envname("SLIMFILL_KVSTORE_INSECURE_LISTEN_ANY");
}

absl::Status CheckReachable(const ListenAddress& address, const char* flag, const char* remedy, bool allowed) {
  if (address.loopback || allowed) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, " ", FormatListenAddress(address),
                   " can be reached from other machines, in plain text and by everyone: ", remedy,
                   "listen on 127.0.0.1, or say --insecure-listen-any where a "
                   "firewall protects the port"));
}

absl::Status Annotate(const char* flag, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(flag, ": ", status.message()));
}

absl::StatusOr<std::optional<MutualTls>> ReadTls(const RawOptions& raw) {
  const bool any = !raw.tls_cert.empty() || !raw.tls_key.empty() || !raw.tls_client_ca.empty();
  if (!any) return std::optional<MutualTls>();
  if (raw.tls_cert.empty() || raw.tls_key.empty() || raw.tls_client_ca.empty()) {
    return absl::InvalidArgumentError(
        "--tls-cert, --tls-key and --tls-client-ca must be given together: the KV store knows its clients by their "
        "certificates only");
  }
  MutualTls tls;
  SLIMFILL_ASSIGN_OR_RETURN(tls.certificate, ReadPemFile("--tls-cert", raw.tls_cert));
  SLIMFILL_ASSIGN_OR_RETURN(tls.key, ReadPemFile("--tls-key", raw.tls_key));
  SLIMFILL_ASSIGN_OR_RETURN(tls.peer_ca, ReadPemFile("--tls-client-ca", raw.tls_client_ca));
  return std::optional<MutualTls>(std::move(tls));
}

absl::StatusOr<KvStoreOptions> Interpret(const RawOptions& raw) {
  KvStoreOptions options{.log_level = raw.log_level};
  absl::StatusOr<ListenAddress> listen = ParseEndpoint(raw.listen);
  if (!listen.ok()) return Annotate("--listen", listen.status());
  SLIMFILL_ASSIGN_OR_RETURN(options.tls, ReadTls(raw));
  SLIMFILL_RETURN_IF_ERROR(CheckReachable(*listen, "--listen", "give --tls-cert, --tls-key and --tls-client-ca, ",
                                          raw.insecure_listen_any || options.tls.has_value()));
  options.listen = *std::move(listen);
  if (raw.metrics_listen != "off") {
    absl::StatusOr<ListenAddress> metrics = ParseListenAddress(raw.metrics_listen);
    if (!metrics.ok()) return Annotate("--metrics-listen", metrics.status());
    SLIMFILL_RETURN_IF_ERROR(CheckReachable(*metrics, "--metrics-listen", "", raw.insecure_listen_any));
    options.metrics_listen = *std::move(metrics);
  }
  const absl::StatusOr<uint64_t> memory = ParseByteSize(raw.memory);
  if (!memory.ok()) return Annotate("--memory", memory.status());
  options.store.memory_bytes = *memory;
  if (raw.tenant_memory != "all") {
    const absl::StatusOr<uint64_t> share = ParseByteSize(raw.tenant_memory);
    if (!share.ok()) return Annotate("--tenant-memory", share.status());
    options.store.tenant_bytes = *share;
  }
  if (!absl::ParseDuration(raw.lease_ttl, &options.store.lease_ttl)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--lease-ttl: '", raw.lease_ttl, "' is no duration: write a number with ms, s or m, as in 10s"));
  }
  SLIMFILL_ASSIGN_OR_RETURN(options.l2, InterpretL2(raw.l2));
  return options;
}

}  // namespace

CommandLine ParseCommandLine(int argc, const char* const* argv) {
  CLI::App app("Keeps full KV caches of language models in memory and serves their blocks over gRPC.",
               "slimfill-kvstore");
  RawOptions raw;
  Define(app, raw);
  app.set_version_flag("--version", SLIMFILL_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return {.options = std::nullopt, .exit_code = code == 0 ? 0 : kUsageError};
  }
  if (const char* password = std::getenv("SLIMFILL_KVSTORE_L2_PASSWORD")) raw.l2.password = password;
  absl::StatusOr<KvStoreOptions> options = Interpret(raw);
  if (!options.ok()) {
    std::fprintf(stderr, "slimfill-kvstore: %s\n", std::string(options.status().message()).c_str());
    return {.options = std::nullopt, .exit_code = kUsageError};
  }
  return {.options = *std::move(options)};
}

}  // namespace slimfill::kvstore
