#include "base/unix_socket.h"

#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill {
namespace {

// 0 when somebody listens at `path`, otherwise the errno of the attempt to connect.
int ConnectError(const std::string& path, int type) {
  const int connected = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (connected < 0) return errno;
  sockaddr_un address = {.sun_family = AF_UNIX};
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof(address.sun_path) - 1));
  const int result = connect(connected, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const int error = result == 0 ? 0 : errno;
  close(connected);
  return error;
}

}  // namespace

absl::Status PrepareUnixSocket(const std::string& path, int type) {
  struct stat found;
  if (lstat(path.c_str(), &found) != 0) {
    const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
    std::error_code error;
    if (std::filesystem::is_directory(folder, error)) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("cannot listen on unix:", path, ": make the folder ",
                                                      folder.string(), " first, or choose another path"));
  }
  if (!S_ISSOCK(found.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen on unix:", path, ": there is a file that is no socket; choose another path"));
  }
  const int error = ConnectError(path, type);
  if (error == 0 || error == EAGAIN) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on unix:", path, ": another server does; stop it or choose another path"));
  }
  if (error != ECONNREFUSED || unlink(path.c_str()) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("cannot listen on unix:", path,
                                                      ": the socket there is not ours (", std::strerror(error),
                                                      "); remove it or choose another path"));
  }
  return absl::OkStatus();
}

}  // namespace slimfill
