// Strict UTF-8: no surrogates, no overlong forms, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace slimfill::engine {

inline constexpr absl::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

enum class Utf8State { kValid, kInvalid, kTruncated };

struct Utf8Char {
  Utf8State state;
  // Bytes of the character; of the longest beginning of one (at least 1) when invalid, which is what one U+FFFD
  // replaces (Unicode 3.9, "maximal subpart"); of all that is left when the text ends inside a character.
  size_t bytes;
  char32_t code_point;  // when valid
};

// The first character of `text`, which must not be empty.
Utf8Char FirstUtf8Char(absl::string_view text);

// Length of the longest beginning of `text` that is valid UTF-8.
size_t ValidUtf8Prefix(absl::string_view text);

// The character at `position` of valid UTF-8. Moves `position` behind it.
char32_t NextCodePoint(absl::string_view text, size_t& position);

void AppendUtf8(char32_t code_point, std::string& out);

// Removes from `pending` and returns what can be said for sure: whole characters, and U+FFFD for bytes that cannot
// become one. A character whose bytes may still follow stays, unless `last`.
std::string TakeUtf8(std::string& pending, bool last);

}  // namespace slimfill::engine
