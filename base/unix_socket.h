// What a server does before it listens on a unix socket, so that no other one loses its clients and no other user of
// the machine gets in.
#pragma once

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <string>

#include "absl/status/status.h"

namespace slimfill {

// Removes the socket that a server which is gone has left at `path`. UNAVAILABLE when one still listens there;
// FAILED_PRECONDITION when there is something else, or no folder for it. Two servers that start at the same moment are
// not told apart. `type`: of the socket, as in socket(2).
absl::Status PrepareUnixSocket(const std::string& path, int type = SOCK_STREAM);

// While it lives, files that this process makes (in any thread) belong to its user alone.
class OwnerOnlyFiles {
 public:
  OwnerOnlyFiles() : before_(umask(S_IRWXG | S_IRWXO)) {}
  ~OwnerOnlyFiles() { umask(before_); }
  OwnerOnlyFiles(const OwnerOnlyFiles&) = delete;
  OwnerOnlyFiles& operator=(const OwnerOnlyFiles&) = delete;

 private:
  const mode_t before_;
};

}  // namespace slimfill
