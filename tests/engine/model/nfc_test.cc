#include "engine/model/nfc.h"

#include <gtest/gtest.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <random>

#include "absl/strings/escaping.h"
#include "engine/model/utf8.h"

namespace slimfill::engine {
namespace {

std::string IcuNfc(absl::string_view text) {
  UErrorCode error = U_ZERO_ERROR;
  std::string normalized;
  icu::Normalizer2::getNFCInstance(error)
      ->normalize(icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size()))), error)
      .toUTF8String(normalized);
  EXPECT_TRUE(U_SUCCESS(error));
  return normalized;
}

std::string Utf8(std::initializer_list<char32_t> code_points) {
  std::string text;
  for (char32_t code_point : code_points) AppendUtf8(code_point, text);
  return text;
}

TEST(NfcTest, EqualsIcuForEveryCharacter) {
  for (char32_t c = 1; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const std::string alone = Utf8({c}), between = Utf8({'a', 0x301, 0x323, c, 0x345, 0x323, 0x301});
    ASSERT_EQ(NfcText(alone).text(), IcuNfc(alone)) << static_cast<uint32_t>(c);
    ASSERT_EQ(NfcText(between).text(), IcuNfc(between)) << static_cast<uint32_t>(c);
  }
}

TEST(NfcTest, EqualsIcuForRandomSequencesOfWhatComposes) {
  std::vector<char32_t> pool = {'a', 'e', ' ', 0x1100, 0x1161, 0x11A8, 0x11A7, 0xAC00, 0xAC01, 0x212B, 0x0B47};
  for (char32_t c = 0x300; c < 0x1F000; ++c) {
    const auto code_point = static_cast<UChar32>(c);
    if (u_getCombiningClass(code_point) != 0 || u_getIntPropertyValue(code_point, UCHAR_NFC_QUICK_CHECK) != UNORM_YES) {
      pool.push_back(c);
    }
  }
  std::mt19937 random(4);
  for (int i = 0; i < 50000; ++i) {
    std::string text;
    for (size_t left = 1 + random() % 8; left > 0; --left) {
      AppendUtf8(pool[random() % (random() % 2 ? 11 : pool.size())], text);
    }
    ASSERT_EQ(NfcText(text).text(), IcuNfc(text)) << absl::CHexEscape(text);
  }
}

TEST(NfcTest, MapsOffsetsBackToTheOriginal) {
  // x, e with a combining acute (3 bytes, composed 2), y, a with diaeresis composed, z.
  const std::string text = "xe\xCC\x81y\xC3\xA4z";
  const NfcText nfc(text);
  ASSERT_EQ(nfc.text(), "x\xC3\xA9y\xC3\xA4z");
  const size_t original[] = {0, 1, 4, 4, 5, 6, 7, 8};
  for (size_t offset = 0; offset < std::size(original); ++offset) {
    EXPECT_EQ(nfc.OriginalOffset(offset), original[offset]) << offset;
  }
  const NfcText unchanged("\xC3\xA9z");
  EXPECT_EQ(unchanged.OriginalOffset(2), 2u);
}

}  // namespace
}  // namespace slimfill::engine
