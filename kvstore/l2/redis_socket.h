// One connection to a Redis server, plain or TLS, that never blocks: bytes in and out of several places at once.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/listen_address.h"
#include "kvstore/l2/tls_client.h"

struct redisContext;

namespace slimfill::kvstore {

// Not thread safe. Errors are UNAVAILABLE and final: the connection is of no more use.
class RedisSocket {
 public:
  // Begins to connect; a failure may show only with the first Write. `tls` (null: plain) outlives the socket. Looking
  // up a host's name may take a while; addresses do not.
  static absl::StatusOr<std::unique_ptr<RedisSocket>> Connect(const ListenAddress& address, const TlsClient* tls);
  ~RedisSocket();
  RedisSocket(const RedisSocket&) = delete;
  RedisSocket& operator=(const RedisSocket&) = delete;

  // Bytes moved, from or to the front of the list; 0 when nothing moves before the socket is ready again.
  absl::StatusOr<size_t> Write(absl::Span<const iovec> from);
  absl::StatusOr<size_t> Read(absl::Span<const iovec> to);

  int fd() const;
  // What to wait for by poll(): `writing` says whether there is something left to write.
  short PollEvents(bool writing) const;

  // Whether the other side has hung up, or sent what nobody asked for: such a connection is not used again.
  bool IsStale() const;

 private:
  struct ContextDeleter {
    void operator()(redisContext* context) const;
  };
  RedisSocket(std::unique_ptr<redisContext, ContextDeleter> context, SSL* session)
      : context_(std::move(context)), session_(session, SSL_free) {}

  // Of a TLS call that moved nothing.
  absl::StatusOr<size_t> SessionStopped(int result);

  std::unique_ptr<redisContext, ContextDeleter> context_;  // owns the socket
  std::unique_ptr<SSL, decltype(&SSL_free)> session_;      // null: plain
  bool session_wants_write_ = false;
};

}  // namespace slimfill::kvstore
