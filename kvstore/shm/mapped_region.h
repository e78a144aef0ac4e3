// Memory that two processes share by a file: one makes it and passes the descriptor, the other maps it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kvstore/api/memory_file.h"

namespace slimfill::kvstore {

// Owns a mapping. Move only.
class MappedRegion {
 public:
  MappedRegion() = default;
  MappedRegion(MappedRegion&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  MappedRegion& operator=(MappedRegion&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MappedRegion();

  // Maps somebody else's file for reading. INVALID_ARGUMENT when it is shorter than `bytes`, or its owner could make it
  // shorter: reading what is gone would end this process.
  static absl::StatusOr<MappedRegion> ReadOnly(int file, uint64_t bytes);
  // A new file of `bytes` whose size nobody can change, mapped for writing; `file` gets its descriptor.
  static absl::StatusOr<MappedRegion> Create(const char* name, uint64_t bytes, UniqueFd* file);

  absl::Span<const std::byte> bytes() const { return bytes_; }
  absl::Span<std::byte> writable() { return bytes_; }  // REQUIRES: from Create

 private:
  explicit MappedRegion(absl::Span<std::byte> bytes) : bytes_(bytes) {}
  absl::Span<std::byte> bytes_;
};

// The same file again, by a descriptor that cannot write to it.
absl::StatusOr<UniqueFd> ReopenReadOnly(int file);

}  // namespace slimfill::kvstore
