#include "kvstore/shm/socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unix_socket.h"
#include "kvstore/shm/protocol.h"

namespace slimfill::kvstore {
namespace {

constexpr int kWaitingConnections = 16;
constexpr absl::Duration kLongestWait = absl::Hours(1);  // of one system call

absl::Status Gone() { return absl::UnavailableError("the process at the other end of the shared memory is gone"); }

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address = {.sun_family = AF_UNIX};
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("unix:", path, " is ", path.size(), " bytes long, the limit is ",
                                                   sizeof(address.sun_path) - 1, ": choose a shorter path"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::StatusOr<UniqueFd> MakeSocket() {
  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd) return absl::ErrnoToStatus(errno, "a unix socket");
  return fd;
}

// Waits until the socket is ready for `events`. The peer's end counts as ready: the call that follows tells.
absl::Status Await(int fd, short events, absl::Time deadline) {
  pollfd waiting = {.fd = fd, .events = events, .revents = 0};
  while (true) {
    const absl::Duration left = std::clamp(deadline - absl::Now(), absl::ZeroDuration(), kLongestWait);
    const timespec time = absl::ToTimespec(left);
    const int ready = ppoll(&waiting, 1, &time, nullptr);
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return absl::ErrnoToStatus(errno, "ppoll");
    if (ready == 0 && absl::Now() >= deadline) {
      return absl::DeadlineExceededError("the process at the other end of the shared memory does not answer");
    }
  }
}

// Takes the descriptors out of what came; keeps the first and closes the others.
UniqueFd TakeFile(msghdr& header) {
  UniqueFd first;
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      UniqueFd file(fd);
      if (!first) first = std::move(file);
    }
  }
  return first;
}

}  // namespace

ShmSocket::ShmSocket(UniqueFd fd)
    : fd_(std::move(fd)), received_(std::make_unique_for_overwrite<std::byte[]>(shm::kMaxMessageBytes)) {}

absl::StatusOr<ShmSocket> ShmSocket::Connect(const std::string& path) {
  SLIMFILL_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  SLIMFILL_ASSIGN_OR_RETURN(UniqueFd fd, MakeSocket());
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot connect to unix:", path, ": ", std::strerror(errno)));
  }
  return ShmSocket(std::move(fd));
}

absl::Status ShmSocket::Send(absl::Span<const std::byte> message, int file, absl::Time deadline) {
  iovec bytes = {.iov_base = const_cast<std::byte*>(message.data()), .iov_len = message.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header = {};
  header.msg_iov = &bytes;
  header.msg_iovlen = 1;
  if (file >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    cmsghdr* part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(part), &file, sizeof(int));
  }
  while (true) {
    if (sendmsg(fd_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return absl::OkStatus();
    if (errno == EPIPE || errno == ECONNRESET) return Gone();
    if (errno != EAGAIN && errno != EINTR) return absl::ErrnoToStatus(errno, "sendmsg");
    SLIMFILL_RETURN_IF_ERROR(Await(fd_.get(), POLLOUT, deadline));
  }
}

absl::StatusOr<absl::Span<const std::byte>> ShmSocket::Receive(UniqueFd* file, absl::Time deadline) {
  iovec bytes = {.iov_base = received_.get(), .iov_len = shm::kMaxMessageBytes};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header = {};
  header.msg_iov = &bytes;
  header.msg_iovlen = 1;
  if (file != nullptr) {
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
  }
  ssize_t received;
  while ((received = recvmsg(fd_.get(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)) < 0) {
    if (errno == ECONNRESET) return Gone();
    if (errno != EAGAIN && errno != EINTR) return absl::ErrnoToStatus(errno, "recvmsg");
    SLIMFILL_RETURN_IF_ERROR(Await(fd_.get(), POLLIN, deadline));
  }
  if (file != nullptr) *file = TakeFile(header);
  if (received == 0) return Gone();  // no message of ours is empty
  if ((header.msg_flags & MSG_TRUNC) != 0) return absl::DataLossError("a message is longer than any should be");
  return absl::MakeConstSpan(received_.get(), static_cast<size_t>(received));
}

void ShmSocket::Shutdown() { shutdown(fd_.get(), SHUT_RDWR); }

absl::StatusOr<uid_t> ShmSocket::PeerUser() const {
  ucred peer;
  socklen_t size = sizeof(peer);
  if (getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return absl::ErrnoToStatus(errno, "SO_PEERCRED");
  }
  return peer.uid;
}

absl::StatusOr<ShmListener> ShmListener::Listen(const std::string& path) {
  SLIMFILL_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  SLIMFILL_RETURN_IF_ERROR(PrepareUnixSocket(path, SOCK_SEQPACKET));
  SLIMFILL_ASSIGN_OR_RETURN(UniqueFd fd, MakeSocket());
  const OwnerOnlyFiles guard;
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(fd.get(), kWaitingConnections) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on unix:", path, ": ", std::strerror(errno)));
  }
  return ShmListener(std::move(fd), path);
}

ShmListener::~ShmListener() {
  if (fd_) unlink(path_.c_str());
}

absl::StatusOr<ShmSocket> ShmListener::Accept() {
  while (true) {
    UniqueFd accepted(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (accepted) return ShmSocket(std::move(accepted));
    if (errno == EINVAL) return absl::CancelledError("listening is over");
    if (errno != EINTR && errno != ECONNABORTED) return absl::ErrnoToStatus(errno, "accept");
  }
}

void ShmListener::Shutdown() { shutdown(fd_.get(), SHUT_RDWR); }

}  // namespace slimfill::kvstore
