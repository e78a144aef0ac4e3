// Reading a GGUF header value by value, and the texts of its errors. Part of the parser.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/status.h"

namespace slimfill::engine::gguf_internal {

static_assert(std::endian::native == std::endian::little, "values are read as they lie in a little-endian file");

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

inline absl::Status Within(const std::string& where, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(where, ": ", status.message()));
}

// Names come from the file: shown escaped and short.
inline std::string Quote(absl::string_view name) {
  constexpr size_t kShown = 80;
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, kShown)), name.size() > kShown ? "...\"" : "\"");
}

// Reads values one after another; never past the end.
class Cursor {
 public:
  explicit Cursor(absl::Span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  template <typename T>
  absl::StatusOr<T> Read() {
    if (remaining() < sizeof(T)) return EndsEarly(sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  absl::StatusOr<std::string> ReadString(uint64_t max_bytes) {
    SLIMFILL_ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>());
    if (length > max_bytes) return Invalid("a string of ", length, " bytes is longer than the limit of ", max_bytes);
    if (length > remaining()) return EndsEarly(length);
    std::string value(reinterpret_cast<const char*>(bytes_.data() + position_), length);
    position_ += length;
    return value;
  }

  absl::StatusOr<bool> ReadBool() {
    SLIMFILL_ASSIGN_OR_RETURN(const uint8_t value, Read<uint8_t>());
    if (value > 1) return Invalid("a bool has the value ", value, ", it must be 0 or 1");
    return value == 1;
  }

 private:
  absl::Status EndsEarly(uint64_t wanted) const {
    return Invalid("the file ends early: ", wanted, " bytes are needed at offset ", position_, ", ", remaining(),
                   " are left; download the file again");
  }

  const absl::Span<const std::byte> bytes_;
  uint64_t position_ = 0;
};

}  // namespace slimfill::engine::gguf_internal
