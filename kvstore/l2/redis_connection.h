// Connections to one Redis server: made as they are needed, kept for the next call, and not tried for a while when the
// server keeps failing.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/listen_address.h"
#include "kvstore/api/circuit_breaker.h"
#include "kvstore/l2/redis_socket.h"
#include "kvstore/l2/reply_reader.h"
#include "kvstore/l2/tls_client.h"

namespace slimfill::kvstore {

// How to connect to any node.
struct RedisAccess {
  std::string user, password;      // empty: none is sent
  const TlsClient* tls = nullptr;  // null: plain
};

// A connection with the state of what is under way on it. Not thread safe.
struct RedisConnection {
  std::unique_ptr<RedisSocket> socket;
  ReplyReader reader;
  std::string greeting;  // to be sent before the first command; its reply is one line
};

// RESP of a command: an array of strings.
std::string FormatCommand(absl::Span<const absl::string_view> words);

// What an error reply means to us: PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE or UNKNOWN, with its text.
absl::Status ErrorOf(absl::string_view reply);

// Thread safe.
class RedisNode {
 public:
  // `access`, and `clock` outlive the node; `on_change` hears of it when the node is given up (false) and comes back.
  RedisNode(const ListenAddress& address, const RedisAccess& access, const CircuitBreaker::Options& breaker,
            const Clock& clock, std::function<void(bool up)> on_change);
  ~RedisNode();

  const ListenAddress& address() const { return address_; }
  CircuitBreaker& breaker() { return breaker_; }
  void Report(CircuitBreaker::Pass pass, const absl::Status& status);  // of an exchange with the node
  bool up() const { return up_.load(std::memory_order_relaxed); }      // as `on_change` last heard

  // A connection that nobody uses, or a new one.
  absl::StatusOr<std::unique_ptr<RedisConnection>> Take();
  // REQUIRES: no reply is outstanding.
  void GiveBack(std::unique_ptr<RedisConnection> connection);

 private:
  static constexpr size_t kMaxIdle = 8;

  const ListenAddress address_;
  const RedisAccess& access_;
  std::atomic<bool> up_{true};
  CircuitBreaker breaker_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<RedisConnection>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slimfill::kvstore
