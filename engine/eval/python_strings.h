// String literals of Python source: enough of the language to read the documentation that its library carries.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace slimfill::eval {

// The value of the string literal at `position` (prefixes r, b, u, f; any quotes), which moves behind it. Nothing, and
// `position` untouched, when there is none or it does not end.
std::optional<std::string> ReadPythonString(absl::string_view source, size_t& position);

// Keys and values of the first dict in `source` whose keys and values are strings, adjacent ones joined. What was read
// before anything else was met.
std::vector<std::pair<std::string, std::string>> ReadPythonStringDict(absl::string_view source);

// The docstrings of a module, in order, with their common indentation removed: triple-quoted strings that begin a line.
std::vector<std::string> ReadDocstrings(absl::string_view source);

}  // namespace slimfill::eval
