// Files of a machine made into text that documents can be put together from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace slimfill::eval {

// `bytes` as valid UTF-8 with \n line ends: what is not valid, and control characters, are left out; so are spaces at
// line ends and all but one of several blank lines (all but two, for code).
std::string CleanText(absl::string_view bytes, int max_blank_lines);

// The documentation in a Perl file: its POD without the markup. Empty when there is none.
std::string PodText(absl::string_view source);

// `text` in pieces of up to about 500 characters that give it back when joined. A piece ends behind a blank line or,
// where a paragraph is longer, behind another line.
std::vector<std::string> SplitPieces(absl::string_view text);

// Whether something of its own may be inserted behind the piece.
bool EndsParagraph(absl::string_view piece);

// Hashes of the paragraphs of at least 200 characters, white space aside: what near copies have in common.
std::vector<uint64_t> LongParagraphs(absl::string_view text);

}  // namespace slimfill::eval
