#include "kvstore/l2/redis_connection.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill::kvstore {

std::string FormatCommand(absl::Span<const absl::string_view> words) {
  std::string command = absl::StrCat("*", words.size(), "\r\n");
  for (const absl::string_view word : words) absl::StrAppend(&command, "$", word.size(), "\r\n", word, "\r\n");
  return command;
}

absl::Status ErrorOf(absl::string_view reply) {
  const std::string text = absl::StrCat("Redis says: ", reply);
  for (const absl::string_view denied : {"NOAUTH", "WRONGPASS", "NOPERM", "ERR AUTH", "ERR Client sent AUTH"}) {
    if (absl::StartsWith(reply, denied)) return absl::PermissionDeniedError(text);
  }
  if (absl::StartsWith(reply, "OOM")) return absl::ResourceExhaustedError(text);
  for (const absl::string_view passing :
       {"CLUSTERDOWN", "LOADING", "MASTERDOWN", "TRYAGAIN", "READONLY", "BUSY", "ERR max number of clients reached"}) {
    if (absl::StartsWith(reply, passing)) return absl::UnavailableError(text);
  }
  return absl::UnknownError(text);
}

RedisNode::RedisNode(const ListenAddress& address, const RedisAccess& access, const CircuitBreaker::Options& breaker,
                     const Clock& clock, std::function<void(bool up)> on_change)
    : address_(address), access_(access), breaker_(breaker, clock, [this, tell = std::move(on_change)](bool up) {
        up_.store(up, std::memory_order_relaxed);
        tell(up);
      }) {}

RedisNode::~RedisNode() = default;

void RedisNode::Report(CircuitBreaker::Pass pass, const absl::Status& status) {
  breaker_.Report(pass, status.ok()                        ? CircuitBreaker::Outcome::kSuccess
                        : absl::IsDeadlineExceeded(status) ? CircuitBreaker::Outcome::kDeadlineMissed
                                                           : CircuitBreaker::Outcome::kFailure);
}

absl::StatusOr<std::unique_ptr<RedisConnection>> RedisNode::Take() {
  while (true) {
    std::unique_ptr<RedisConnection> idle;
    {
      absl::MutexLock lock(&mutex_);
      if (idle_.empty()) break;
      idle = std::move(idle_.back());
      idle_.pop_back();
    }
    if (!idle->socket->IsStale()) return idle;
  }
  auto connection = std::make_unique<RedisConnection>();
  SLIMFILL_ASSIGN_OR_RETURN(connection->socket, RedisSocket::Connect(address_, access_.tls));
  if (!access_.user.empty()) {
    connection->greeting = FormatCommand({"AUTH", access_.user, access_.password});
  } else if (!access_.password.empty()) {
    connection->greeting = FormatCommand({"AUTH", access_.password});
  }
  return connection;
}

void RedisNode::GiveBack(std::unique_ptr<RedisConnection> connection) {
  if (!connection->reader.empty()) return;  // it sent more than it was asked for
  absl::MutexLock lock(&mutex_);
  if (idle_.size() < kMaxIdle) idle_.push_back(std::move(connection));
}

}  // namespace slimfill::kvstore
