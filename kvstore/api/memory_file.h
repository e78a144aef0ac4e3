// Files in memory whose size nobody can change: a shorter one would end every process that has mapped it.
#pragma once

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"

namespace slimfill::kvstore {

// Owns a file descriptor; -1 is none. Move only.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

// A new one of `bytes` zeros, which take memory when they are first written. `name`: for people who look at /proc.
absl::StatusOr<UniqueFd> MakeMemoryFile(const char* name, uint64_t bytes);

}  // namespace slimfill::kvstore
