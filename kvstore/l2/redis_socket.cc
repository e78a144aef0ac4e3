#include "kvstore/l2/redis_socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hiredis/hiredis.h"
#include "openssl/err.h"

namespace slimfill::kvstore {
namespace {

absl::Status Broken(absl::string_view what) { return absl::UnavailableError(absl::StrCat("the connection ", what)); }

msghdr MessageOf(absl::Span<const iovec> parts) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = parts.size();
  return message;
}

}  // namespace

void RedisSocket::ContextDeleter::operator()(redisContext* context) const { redisFree(context); }

absl::StatusOr<std::unique_ptr<RedisSocket>> RedisSocket::Connect(const ListenAddress& address, const TlsClient* tls) {
  std::unique_ptr<redisContext, ContextDeleter> context(address.unix_path.empty()
                                                            ? redisConnectNonBlock(address.host.c_str(), address.port)
                                                            : redisConnectUnixNonBlock(address.unix_path.c_str()));
  if (context == nullptr || context->err != 0) {
    return absl::UnavailableError(absl::StrCat("cannot connect to ", FormatListenAddress(address), ": ",
                                               context == nullptr ? "no memory" : context->errstr));
  }
  if (address.unix_path.empty()) {
    const int on = 1;
    setsockopt(context->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  SSL* session = nullptr;
  if (tls != nullptr) {
    session = tls->NewSession(context->fd, address.host);
    if (session == nullptr) return absl::UnavailableError("no memory for a TLS session");
  }
  return std::unique_ptr<RedisSocket>(new RedisSocket(std::move(context), session));
}

RedisSocket::~RedisSocket() = default;

int RedisSocket::fd() const { return context_->fd; }

short RedisSocket::PollEvents(bool writing) const {
  const bool shaking_hands = session_ != nullptr && SSL_in_init(session_.get()) == 1;  // then TLS decides alone
  return static_cast<short>(POLLIN | ((writing && !shaking_hands) || session_wants_write_ ? POLLOUT : 0));
}

bool RedisSocket::IsStale() const {
  char byte;
  const ssize_t received = recv(fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (received > 0) return session_ == nullptr;  // TLS speaks between answers, too
  return received == 0 || errno != EAGAIN;
}

absl::StatusOr<size_t> RedisSocket::Write(absl::Span<const iovec> from) {
  if (session_ == nullptr) {
    const msghdr message = MessageOf(from);
    const ssize_t sent = sendmsg(fd(), &message, MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<size_t>(sent);
    if (errno == EAGAIN || errno == EINTR) return 0;
    return Broken(std::strerror(errno));
  }
  size_t moved = 0;
  for (const iovec& part : from) {
    size_t of_part = 0;
    while (of_part < part.iov_len) {
      const size_t size = std::min<size_t>(part.iov_len - of_part, std::numeric_limits<int>::max());
      ERR_clear_error();
      const int sent =
          SSL_write(session_.get(), static_cast<const char*>(part.iov_base) + of_part, static_cast<int>(size));
      if (sent <= 0) return moved > 0 ? absl::StatusOr<size_t>(moved) : SessionStopped(sent);
      session_wants_write_ = false;
      of_part += static_cast<size_t>(sent);
      moved += static_cast<size_t>(sent);
    }
  }
  return moved;
}

absl::StatusOr<size_t> RedisSocket::Read(absl::Span<const iovec> to) {
  if (session_ == nullptr) {
    msghdr message = MessageOf(to);
    const ssize_t received = recvmsg(fd(), &message, 0);
    if (received > 0) return static_cast<size_t>(received);
    if (received == 0) return Broken("was closed by the server");
    if (errno == EAGAIN || errno == EINTR) return 0;
    return Broken(std::strerror(errno));
  }
  const iovec& part = to.front();
  ERR_clear_error();
  const int received = SSL_read(session_.get(), part.iov_base,
                                static_cast<int>(std::min<size_t>(part.iov_len, std::numeric_limits<int>::max())));
  if (received <= 0) return SessionStopped(received);
  session_wants_write_ = false;
  return static_cast<size_t>(received);
}

absl::StatusOr<size_t> RedisSocket::SessionStopped(int result) {
  switch (SSL_get_error(session_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      session_wants_write_ = false;
      return 0;
    case SSL_ERROR_WANT_WRITE:
      session_wants_write_ = true;
      return 0;
    case SSL_ERROR_ZERO_RETURN:
      return Broken("was closed by the server");
    case SSL_ERROR_SYSCALL:
      return Broken(errno == 0 ? "was closed by the server" : std::strerror(errno));
    default:
      return Broken(absl::StrCat("failed in TLS: ", TlsError()));
  }
}

}  // namespace slimfill::kvstore
