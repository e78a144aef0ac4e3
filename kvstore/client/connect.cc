#include "kvstore/client/connect.h"

#include <utility>

#include "base/listen_address.h"
#include "base/status.h"
#include "kvstore/client/attached_kv_store.h"

namespace slimfill::kvstore {

absl::StatusOr<std::unique_ptr<KvStore>> ConnectKvStore(const std::string& address, const GrpcStoreOptions& options,
                                                        const Clock& clock, Metrics* metrics) {
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<GrpcKvStore> store, GrpcKvStore::Create(address, options, clock, metrics));
  SLIMFILL_ASSIGN_OR_RETURN(const ListenAddress parsed, ParseEndpoint(address));
  if (parsed.unix_path.empty()) return store;
  return std::make_unique<AttachedKvStore>(std::move(store), parsed.unix_path, AttachedKvStore::Options(), clock,
                                           metrics);
}

}  // namespace slimfill::kvstore
