#include "server/options.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/byte_size.h"
#include "base/listen_address.h"
#include "base/status.h"

namespace slimfill::server {
namespace {

absl::Status Refuse(absl::string_view value, absl::string_view allowed) {
  return absl::InvalidArgumentError(absl::StrCat("'", value, "' is not allowed: use ", allowed));
}

Option Text(const char* key, std::string ServerConfig::*field, const char* help) {
  return {key, help,
          [field](ServerConfig& config, const std::string& value) {
            config.*field = value;
            return absl::OkStatus();
          },
          [field](const ServerConfig& config) { return config.*field; }};
}

Option Choice(const char* key, std::string ServerConfig::*field, std::vector<std::string> choices, const char* help) {
  return {key, help,
          [field, choices](ServerConfig& config, const std::string& value) {
            if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
              return Refuse(value, absl::StrJoin(choices, ", "));
            }
            config.*field = value;
            return absl::OkStatus();
          },
          [field](const ServerConfig& config) { return config.*field; }};
}

// What `parse` takes (port 0: any free one), or `word`.
using AddressParser = absl::StatusOr<ListenAddress> (*)(absl::string_view);
Option Address(const char* key, std::string ServerConfig::*field, AddressParser parse, const char* help,
               const char* word = nullptr) {
  return {key, help,
          [field, parse, word](ServerConfig& config, const std::string& value) {
            if (word == nullptr || value != word) SLIMFILL_RETURN_IF_ERROR(parse(value).status());
            config.*field = value;
            return absl::OkStatus();
          },
          [field](const ServerConfig& config) { return config.*field; }};
}

template <typename Int>
Option Whole(const char* key, Int ServerConfig::*field, int64_t low, int64_t high, const char* help) {
  return {key, help,
          [field, low, high](ServerConfig& config, const std::string& value) {
            int64_t number = 0;
            if (!absl::SimpleAtoi(value, &number) || number < low || number > high) {
              return Refuse(value, absl::StrCat("a whole number from ", low, " to ", high));
            }
            config.*field = static_cast<Int>(number);
            return absl::OkStatus();
          },
          [field](const ServerConfig& config) { return absl::StrCat(config.*field); }};
}

Option Bytes(const char* key, int64_t ServerConfig::*field, const char* help, const char* word_for_zero = nullptr) {
  return {key, help,
          [field, word_for_zero](ServerConfig& config, const std::string& value) {
            if (word_for_zero != nullptr && value == word_for_zero) {
              config.*field = 0;
              return absl::OkStatus();
            }
            SLIMFILL_ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(value));
            if (bytes == 0) return Refuse(value, "a size above zero");
            config.*field = static_cast<int64_t>(bytes);
            return absl::OkStatus();
          },
          [field, word_for_zero](const ServerConfig& config) {
            return word_for_zero != nullptr && config.*field == 0 ? word_for_zero : FormatByteSize(config.*field);
          }};
}

Option Switch(const char* key, bool ServerConfig::*field, const char* help) {
  return {key, help,
          [field](ServerConfig& config, const std::string& value) {
            if (value != "true" && value != "false") return Refuse(value, "true or false");
            config.*field = value == "true";
            return absl::OkStatus();
          },
          [field](const ServerConfig& config) { return config.*field ? "true" : "false"; }, /*is_switch=*/true};
}

Option Share(const char* key, double ServerConfig::*field, const char* help) {
  return {key, help,
          [field](ServerConfig& config, const std::string& value) {
            double number = 0;
            if (!absl::SimpleAtod(value, &number) || !(number >= 0 && number <= 1)) {
              return Refuse(value, "a number from 0 to 1");
            }
            config.*field = number;
            return absl::OkStatus();
          },
          [field](const ServerConfig& config) { return absl::StrCat(config.*field); }};
}

Option Time(const char* key, absl::Duration ServerConfig::*field, const char* help) {
  return {
      key, help,
      [field](ServerConfig& config, const std::string& value) {
        absl::Duration duration;
        if (!absl::ParseDuration(value, &duration) || duration < absl::ZeroDuration() || duration > absl::Hours(24)) {
          return Refuse(value, "a duration such as 30s or 5m, at most 24h");
        }
        config.*field = duration;
        return absl::OkStatus();
      },
      [field](const ServerConfig& config) { return absl::FormatDuration(config.*field); }};
}

std::vector<Option> MakeOptions() {
  using C = ServerConfig;
  constexpr int64_t kManyTokens = int64_t{1} << 24;
  return {
      Text("model", &C::model,
           "GGUF file, or directory with config.json, tokenizer.json and safetensors; default: the one that "
           "scripts/setup.sh fetches"),
      Address("listen", &C::listen, ParseEndpoint, "HOST:PORT of gRPC (port 0 takes a free one), or unix:PATH"),
      Address("metrics-listen", &C::metrics_listen, ParseListenAddress, "HOST:PORT of the Prometheus metrics, or off",
              "off"),
      Address("kv-store", &C::kv_store, ParseEndpoint, "embedded, or HOST:PORT or unix:PATH of a slimfill-kvstore",
              "embedded"),
      Text("kv-store-ca", &C::kv_store_ca, "authority of the KV tier's certificate, PEM file: mutual TLS with it"),
      Text("kv-store-cert", &C::kv_store_cert, "certificate to show to the KV tier, PEM file"),
      Text("kv-store-key", &C::kv_store_key, "its private key, PEM file"),
      Bytes("kv-memory", &C::kv_memory_bytes, "memory of the embedded KV store"),
      Bytes("kv-tenant-memory", &C::kv_tenant_memory_bytes, "the most of it that one tenant may take, or all", "all"),
      Text("l2", &C::l2,
           "a Redis or Valkey behind the embedded KV store: redis://HOST:PORT[,HOST:PORT...], rediss:// for TLS, or "
           "unix:PATH; default: none"),
      Text("l2-key-file", &C::l2_key_file, "file with the key that encrypts values in the L2: 32 hexadecimal digits"),
      Time("l2-ttl", &C::l2_ttl, "how long the L2 keeps a block"),
      Text("l2-user", &C::l2_user, "user of the L2; default: Redis' own default user"),
      Text("l2-password-file", &C::l2_password_file, "file with the L2's password"),
      Text("l2-tls-ca", &C::l2_tls_ca, "authority that the L2's certificate is of, PEM file; default: the system's"),
      Text("l2-tls-cert", &C::l2_tls_cert, "certificate to show to the L2, PEM file"),
      Text("l2-tls-key", &C::l2_tls_key, "its private key, PEM file"),
      Choice("backend", &C::backend, {"cpu", "ref", "cuda"}, "cpu, ref (slow and simple) or cuda"),
      Choice("linear", &C::linear, {"bf16", "int8"},
             "numbers of the linear layers: bf16, or int8 (faster, half the memory, less exact)"),
      Whole("threads", &C::threads, 0, 1024, "compute threads; 0: one per core"),
      Whole("max-context", &C::max_context, 0, kManyTokens, "tokens of prompt plus answer; 0: what the model allows"),
      Whole("chunk-tokens", &C::chunk_tokens, 0, 1 << 20, "tokens that prefill runs in one go; 0: chosen by backend"),
      Bytes("kv-pages-memory", &C::kv_pages_memory_bytes, "memory for KV pages of running requests, or auto", "auto"),
      Text("plan", &C::plan, "prune plan: fast, safe, off (dense) or a file"),
      Whole("max-queue", &C::max_queue, 1, 1 << 20, "requests that may wait"),
      Whole("max-queue-tokens", &C::max_queue_tokens, 1, int64_t{1} << 40, "prompt tokens that may wait"),
      Whole("max-running", &C::max_running, 1, 1024, "requests in prefill or decode at once"),
      Whole("max-message-mib", &C::max_message_mib, 1, 1024, "largest message that is accepted, MiB"),
      Time("drain-timeout", &C::drain_timeout, "how long requests may go on after SIGTERM"),
      Choice("log-level", &C::log_level, {"trace", "debug", "info", "warning", "error", "off"},
             "trace, debug, info, warning, error or off"),
      Switch("reflection", &C::reflection, "gRPC server reflection, for grpcurl and ghz"),
      Switch("insecure-listen-any", &C::insecure_listen_any, "allow --listen beyond this machine without TLS"),
      Share("randomized-dense-share", &C::randomized_dense_share,
            "share of requests that run dense to measure the speedup"),
      Share("densify", &C::densify,
            "share of idle time that goes into running past prompts densely, so that the next question about them is "
            "answered at once; 0: none"),
      Text("tls-cert", &C::tls_cert, "server certificate, PEM file"),
      Text("tls-key", &C::tls_key, "its private key, PEM file"),
      Text("tls-client-ca", &C::tls_client_ca, "clients must have a certificate of this authority, PEM file"),
      Text("auth-tokens", &C::auth_tokens, "file of accepted bearer tokens, a line tenant:hexsha256 for each"),
  };
}

}  // namespace

const std::vector<Option>& Options() {
  static const auto* options = new std::vector<Option>(MakeOptions());
  return *options;
}

}  // namespace slimfill::server
