#include "engine/model/nfc.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>

#include "base/status.h"
#include "engine/model/utf8.h"

namespace slimfill::engine {
namespace {

const icu::Normalizer2& Nfc() {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(error);  // built into ICU's library
  SLIMFILL_CHECK(U_SUCCESS(error));
  return *nfc;
}

struct Character {
  UChar32 code_point;
  int combining_class;
};

Character MakeCharacter(UChar32 code_point) { return {code_point, u_getCombiningClass(code_point)}; }

// The quick check of Unicode's annex 15 on a segment: no character that normalisation may change, marks in order.
bool IsNormalized(absl::string_view segment) {
  int previous_class = 0;
  for (size_t position = 0; position < segment.size();) {
    const auto code_point = static_cast<UChar32>(NextCodePoint(segment, position));
    if (u_getIntPropertyValue(code_point, UCHAR_NFC_QUICK_CHECK) != UNORM_YES) return false;
    const int combining_class = u_getCombiningClass(code_point);
    if (combining_class != 0 && combining_class < previous_class) return false;
    previous_class = combining_class;
  }
  return true;
}

std::vector<Character> Decompose(absl::string_view segment) {
  std::vector<Character> characters;
  icu::UnicodeString decomposition;
  for (size_t position = 0; position < segment.size();) {
    const auto code_point = static_cast<UChar32>(NextCodePoint(segment, position));
    if (!Nfc().getDecomposition(code_point, decomposition)) {
      characters.push_back(MakeCharacter(code_point));
      continue;
    }
    for (int32_t i = 0; i < decomposition.length(); i = decomposition.moveIndex32(i, 1)) {
      characters.push_back(MakeCharacter(decomposition.char32At(i)));
    }
  }
  return characters;
}

// Canonical ordering: each run of marks by combining class, equal ones as they were.
void OrderMarks(std::vector<Character>& characters) {
  const auto is_starter = [](const Character& c) { return c.combining_class == 0; };
  for (auto run = characters.begin(); run != characters.end();) {
    run = std::find_if_not(run, characters.end(), is_starter);
    const auto run_end = std::find_if(run, characters.end(), is_starter);
    std::stable_sort(run, run_end,
                     [](const Character& a, const Character& b) { return a.combining_class < b.combining_class; });
    run = run_end;
  }
}

// Canonical composition: a character joins the starter before it unless one between them is in the way, which is one of
// the same or a higher combining class.
void Compose(std::vector<Character>& characters) {
  size_t kept = 0;
  Character* starter = nullptr;
  int class_between = -1;  // of the last character kept behind the starter; -1: there is none
  for (const Character& c : characters) {
    if (starter != nullptr && class_between < c.combining_class) {
      const UChar32 composite = Nfc().composePair(starter->code_point, c.code_point);
      if (composite >= 0) {
        starter->code_point = composite;
        continue;
      }
    }
    characters[kept] = c;
    if (c.combining_class == 0) {
      starter = &characters[kept];
      class_between = -1;
    } else {
      class_between = c.combining_class;
    }
    ++kept;
  }
  characters.resize(kept);
}

}  // namespace

NfcText::NfcText(absl::string_view text) : original_(text) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) return;
  // A segment goes up to the next character that nothing before it can change: segments are normalized one by one.
  size_t begin = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t at = position;
    const auto code_point = static_cast<UChar32>(NextCodePoint(text, position));
    if (at == begin || (code_point >= 0x80 && !Nfc().hasBoundaryBefore(code_point))) continue;
    AppendSegment(begin, at);
    begin = at;
  }
  if (begin < text.size()) AppendSegment(begin, text.size());
}

void NfcText::AppendSegment(size_t begin, size_t end) {
  const absl::string_view segment = original_.substr(begin, end - begin);
  const size_t normalized_begin = normalized_.size();
  if (segment.size() == 1 || IsNormalized(segment)) {
    normalized_.append(segment.data(), segment.size());
    return;
  }
  std::vector<Character> characters = Decompose(segment);
  OrderMarks(characters);
  Compose(characters);
  for (const Character& c : characters) AppendUtf8(static_cast<char32_t>(c.code_point), normalized_);
  if (absl::string_view(normalized_).substr(normalized_begin) != segment) {
    changes_.push_back({normalized_begin, normalized_.size(), end});
  }
}

size_t NfcText::OriginalOffset(size_t offset) const {
  // The last change that begins before `offset`.
  auto change = std::lower_bound(changes_.begin(), changes_.end(), offset,
                                 [](const Change& change, size_t offset) { return change.begin < offset; });
  if (change == changes_.begin()) return offset;
  --change;
  return offset <= change->end ? change->original_end : change->original_end + (offset - change->end);
}

}  // namespace slimfill::engine
