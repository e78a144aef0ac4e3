// The text of a prompt's blocks, from the bytes of its tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace slimfill::cli {

// The text from each border (an index into `token_bytes`; ascending, the first is 0) to the next, the last up to the
// end. Every piece is valid UTF-8: tokens are cut within characters, and a character that lies across a border goes
// whole to the piece where it begins. Bytes that are no character become U+FFFD.
std::vector<std::string> CutText(absl::Span<const absl::string_view> token_bytes, absl::Span<const int64_t> borders);

}  // namespace slimfill::cli
