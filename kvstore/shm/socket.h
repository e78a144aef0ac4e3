// Unix sockets that carry messages (SOCK_SEQPACKET) and file descriptors between two processes of one machine.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kvstore/api/memory_file.h"

namespace slimfill::kvstore {

// One end of a connection. One thread may send and receive; another may call Shutdown.
class ShmSocket {
 public:
  explicit ShmSocket(UniqueFd fd);

  // UNAVAILABLE when nobody listens at `path`.
  static absl::StatusOr<ShmSocket> Connect(const std::string& path);

  // `file`: a descriptor that goes with the message; -1 for none. UNAVAILABLE when the peer is gone, DEADLINE_EXCEEDED
  // when it does not read.
  absl::Status Send(absl::Span<const std::byte> message, int file, absl::Time deadline);
  // The next message, which stays until the next call. `file` (may be null: then none is accepted) gets the descriptor
  // that came along, if any. UNAVAILABLE when the peer is gone, DEADLINE_EXCEEDED, DATA_LOSS when a message is longer
  // than any should be.
  absl::StatusOr<absl::Span<const std::byte>> Receive(UniqueFd* file, absl::Time deadline);

  // Whoever waits on either end hears that the connection is over.
  void Shutdown();
  // The user that the process at the other end ran as when it connected.
  absl::StatusOr<uid_t> PeerUser() const;

 private:
  UniqueFd fd_;
  std::unique_ptr<std::byte[]> received_;
};

// Listens at a path, for the user of this process alone; removes the path when destroyed.
class ShmListener {
 public:
  // Errors as PrepareUnixSocket (base/unix_socket.h).
  static absl::StatusOr<ShmListener> Listen(const std::string& path);
  ShmListener(ShmListener&&) = default;
  ~ShmListener();

  // CANCELLED after Shutdown.
  absl::StatusOr<ShmSocket> Accept();
  void Shutdown();

 private:
  ShmListener(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  UniqueFd fd_;
  std::string path_;
};

}  // namespace slimfill::kvstore
