// The options of an L2 as a user writes them, and what they mean: the same for every program that has one.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "kvstore/l2/redis_cluster.h"

namespace slimfill::kvstore {

// Named as the flags are: --l2, --l2-tls-ca and so on. Empty: not given.
struct L2Settings {
  std::string l2;
  std::string tls_ca, tls_cert, tls_key;
  std::string user, password_file;
  std::string password;  // from the environment: never a flag, which every user of the machine could read
  std::string key_file;
  std::string ttl = "24h";
};

// Nothing when no L2 is wanted. INVALID_ARGUMENT names the flag, what is wrong and the remedy. Reads the files of
// password and key.
absl::StatusOr<std::optional<RedisOptions>> InterpretL2(const L2Settings& settings);

}  // namespace slimfill::kvstore
