// The gRPC server of the KV tier: KvService, health and reflection on one port.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/listen_address.h"
#include "base/metrics.h"
#include "kvstore/api/mutual_tls.h"
#include "kvstore/core/local_store.h"
#include "kvstore/l2/tiered_store.h"

namespace slimfill::kvstore {

class KvServer {
 public:
  // Listens at once; UNAVAILABLE (or FAILED_PRECONDITION: base/unix_socket.h) with the remedy when it cannot. Port 0
  // picks a free one. On a unix socket clients can attach to a store whose memory is shared (Attach). `store`, `clock`,
  // `metrics` and `tier` outlive the server. `tls`: nothing for plain text. `tier`: `store` with its L2; null without.
  static absl::StatusOr<std::unique_ptr<KvServer>> Start(const ListenAddress& listen, LocalKvStore& store,
                                                         const Clock& clock, Metrics& metrics,
                                                         const std::optional<MutualTls>& tls = std::nullopt,
                                                         TieredStore* tier = nullptr);
  ~KvServer();  // stops, without grace

  const ListenAddress& address() const;  // with the port in use

  // Says NOT_SERVING (liveness stays), takes no new streams, lets running ones finish for at most `grace`, and stops.
  void Stop(absl::Duration grace);

 private:
  struct Impl;
  explicit KvServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slimfill::kvstore
