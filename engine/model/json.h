// JSON that may come from anywhere, read without exceptions.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace slimfill::engine {

// INVALID_ARGUMENT, beginning with `name`, for what is no JSON, nests deeper than 64, or has a key twice in one object
// (which of the two counts would depend on the reader).
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, const std::string& name);

// The same for a file of at most `max_bytes`, in which the outermost value is an object. NOT_FOUND when there is none.
absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path, size_t max_bytes);

// A short, printable form of a piece of a file, quoted, for errors.
std::string QuotedForError(absl::string_view text);
std::string QuotedForError(const nlohmann::json& value);

}  // namespace slimfill::engine
