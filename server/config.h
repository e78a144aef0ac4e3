// The server's configuration: one table of options that serves flags, environment, YAML file and --help alike.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace slimfill::server {

struct ServerConfig {
  std::string model;
  std::string listen = "127.0.0.1:8080";
  std::string metrics_listen = "127.0.0.1:9090";
  std::string kv_store = "embedded";  // or HOST:PORT or unix:PATH
  int64_t kv_memory_bytes = int64_t{4} << 30;
  int64_t kv_tenant_memory_bytes = 0;                    // 0: all of it
  std::string kv_store_ca, kv_store_cert, kv_store_key;  // PEM files for mutual TLS with the KV tier
  std::string l2;                                        // of the embedded store: an address as in redis://HOST:PORT
  std::string l2_key_file, l2_user, l2_password_file, l2_tls_ca, l2_tls_cert, l2_tls_key;
  absl::Duration l2_ttl = absl::Hours(24);
  std::string backend = "cpu";        // cpu, ref or cuda
  std::string linear = "bf16";        // type of linear layers: bf16 or int8
  int threads = 0;                    // 0: all cores
  int64_t max_context = 0;            // tokens; 0: the model's own
  int64_t chunk_tokens = 0;           // 0: the engine's choice
  int64_t kv_pages_memory_bytes = 0;  // KV pages inside the engine; 0: the engine's choice
  std::string plan = "fast";          // fast, safe, off or a file
  int64_t max_queue = 256;
  int64_t max_queue_tokens = int64_t{4} << 20;
  int max_running = 8;
  int64_t max_message_mib = 64;
  absl::Duration drain_timeout = absl::Seconds(30);
  std::string log_level = "info";
  bool reflection = true;
  bool insecure_listen_any = false;
  double randomized_dense_share = 0.01;
  double densify = 0.5;
  std::string tls_cert, tls_key, tls_client_ca;  // PEM files
  std::string auth_tokens;                       // file of tenant:hexsha256 lines
};

using Environment = std::map<std::string, std::string>;

struct LoadedConfig {
  ServerConfig config;
  bool show_help = false;
  bool show_version = false;
  // Every option as key=value source=..., for the log's first line.
  std::string effective;
};

// Flag over environment (SLIMFILL_<KEY>) over YAML file (--config or SLIMFILL_CONFIG) over default. `arguments` without
// the program's name. INVALID_ARGUMENT naming the source, the value, what is allowed, and for an unknown key the one
// that was probably meant.
absl::StatusOr<LoadedConfig> LoadConfig(absl::Span<const std::string> arguments, const Environment& environment);

// The process's environment.
Environment ReadEnvironment();

std::string HelpText();

// ${SLIMFILL_HOME} or ~/.cache/slimfill.
std::string SlimfillHome(const Environment& environment);

// Whether "host:port" only reaches this machine: localhost, 127.x.y.z, [::1] or unix:.
bool IsLoopback(absl::string_view address);

}  // namespace slimfill::server
