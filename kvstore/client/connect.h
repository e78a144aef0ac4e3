// The one way for engines to reach a KV store in another process: shared memory beside gRPC on a unix socket, gRPC
// alone otherwise.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "kvstore/api/kv_store.h"
#include "kvstore/client/grpc_kv_store.h"

namespace slimfill::kvstore {

// As GrpcKvStore::Create.
absl::StatusOr<std::unique_ptr<KvStore>> ConnectKvStore(const std::string& address, const GrpcStoreOptions& options,
                                                        const Clock& clock, Metrics* metrics);

}  // namespace slimfill::kvstore
