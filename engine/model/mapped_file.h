// A file mapped into memory, read-only.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace slimfill::engine {

// Empty when default-constructed. The file must not be truncated while it is mapped (replace it by renaming): reading
// past its new end would be SIGBUS.
class MappedFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED, or INVALID_ARGUMENT for what is not a regular file with something in it.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MappedFile();

  absl::Span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), bytes_}; }

 private:
  MappedFile(void* address, size_t bytes) : address_(address), bytes_(bytes) {}
  void* address_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace slimfill::engine
