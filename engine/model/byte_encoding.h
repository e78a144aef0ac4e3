// GPT-2's way to write any bytes as printable text: each byte is one character. Vocabularies and merges of byte-level
// BPE are stored in it ("Ġthe" is " the").
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace slimfill::engine {

// The character that stands for `byte`.
char32_t ByteToCharacter(unsigned char byte);

// The bytes that `text` stands for; INVALID_ARGUMENT when a character stands for none.
absl::StatusOr<std::string> DecodeByteCharacters(absl::string_view text);

}  // namespace slimfill::engine
