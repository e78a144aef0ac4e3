// The options of slimfill-kvstore: flags, and an environment variable for each (SLIMFILL_KVSTORE_LISTEN for --listen).
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/listen_address.h"
#include "kvstore/api/mutual_tls.h"
#include "kvstore/core/local_store.h"
#include "kvstore/l2/redis_cluster.h"

namespace slimfill::kvstore {

struct KvStoreOptions {
  ListenAddress listen;
  std::optional<ListenAddress> metrics_listen;
  std::optional<MutualTls> tls;
  LocalStoreOptions store;
  std::optional<RedisOptions> l2;
  std::string log_level;
};

struct CommandLine {
  std::optional<KvStoreOptions> options;  // none: nothing to run (help, version or an error was printed)
  int exit_code = 0;
};

// Prints help, version or what is wrong.
CommandLine ParseCommandLine(int argc, const char* const* argv);

}  // namespace slimfill::kvstore
