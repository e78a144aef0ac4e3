#include "base/byte_size.h"

#include <iterator>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace slimfill {
namespace {

constexpr absl::string_view kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};

}  // namespace

absl::StatusOr<uint64_t> ParseByteSize(absl::string_view text) {
  const absl::Status malformed = absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is no size: write a whole number with KiB, MiB, GiB or TiB, as in 4GiB"));
  size_t digits = 0;
  while (digits < text.size() && absl::ascii_isdigit(text[digits])) ++digits;
  uint64_t number;
  if (!absl::SimpleAtoi(text.substr(0, digits), &number)) return malformed;
  const absl::string_view unit = digits == text.size() ? kUnits[0] : text.substr(digits);
  for (size_t i = 0; i < std::size(kUnits); ++i) {
    if (unit != kUnits[i]) continue;
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) >> (10 * i)) return malformed;
    return number << (10 * i);
  }
  return malformed;
}

std::string FormatByteSize(uint64_t bytes) {
  size_t unit = 0;
  while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return absl::StrCat(bytes, kUnits[unit]);
}

}  // namespace slimfill
