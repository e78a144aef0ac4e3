#include "kvstore/bench/raw_socket.h"

#include <sys/socket.h>

namespace slimfill::kvstore {
namespace {

bool SendAll(int socket, const void* data, size_t size) {
  for (auto* next = static_cast<const std::byte*>(data); size > 0;) {
    const ssize_t sent = send(socket, next, size, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    next += sent;
    size -= sent;
  }
  return true;
}

bool ReceiveAll(int socket, void* data, size_t size) {
  for (auto* next = static_cast<std::byte*>(data); size > 0;) {
    const ssize_t received = recv(socket, next, size, 0);
    if (received <= 0) return false;
    next += received;
    size -= received;
  }
  return true;
}

}  // namespace

void ServeRaw(int socket, absl::Span<const std::byte> bytes) {
  uint64_t count = 0;
  while (ReceiveAll(socket, &count, sizeof(count))) {
    if (count > bytes.size() || !SendAll(socket, bytes.data(), count)) return;
  }
}

bool FetchRaw(int socket, absl::Span<std::byte> destination) {
  const uint64_t count = destination.size();
  return SendAll(socket, &count, sizeof(count)) && ReceiveAll(socket, destination.data(), destination.size());
}

}  // namespace slimfill::kvstore
