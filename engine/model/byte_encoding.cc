#include "engine/model/byte_encoding.h"

#include <array>
#include <cstdint>

#include "absl/strings/str_format.h"
#include "engine/model/utf8.h"

namespace slimfill::engine {
namespace {

constexpr bool IsPrintableLatin1(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

// Printable Latin-1 stands for itself; the other bytes, in order, are U+0100 and on.
constexpr std::array<char32_t, 256> MakeCharacters() {
  std::array<char32_t, 256> characters{};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) characters[byte] = IsPrintableLatin1(byte) ? char32_t(byte) : next++;
  return characters;
}
constexpr std::array<char32_t, 256> kCharacters = MakeCharacters();
constexpr int kCharacterEnd = 0x100 + 68;

constexpr std::array<int16_t, kCharacterEnd> MakeBytes() {
  std::array<int16_t, kCharacterEnd> bytes{};
  for (auto& byte : bytes) byte = -1;
  for (int byte = 0; byte < 256; ++byte) bytes[kCharacters[byte]] = static_cast<int16_t>(byte);
  return bytes;
}
constexpr std::array<int16_t, kCharacterEnd> kBytes = MakeBytes();

}  // namespace

char32_t ByteToCharacter(unsigned char byte) { return kCharacters[byte]; }

absl::StatusOr<std::string> DecodeByteCharacters(absl::string_view text) {
  if (ValidUtf8Prefix(text) != text.size()) return absl::InvalidArgumentError("not valid UTF-8");
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    const char32_t character = NextCodePoint(text, position);
    if (character >= kCharacterEnd || kBytes[character] < 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("U+%04X stands for no byte in byte-level BPE", static_cast<uint32_t>(character)));
    }
    bytes.push_back(static_cast<char>(kBytes[character]));
  }
  return bytes;
}

}  // namespace slimfill::engine
