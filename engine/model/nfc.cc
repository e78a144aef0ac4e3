#include "engine/model/nfc.h"

#include <unicode/bytestream.h>
#include <unicode/edits.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/model/utf8.h"

namespace slimfill::engine {
namespace {

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// ICU puts combining marks in order by insertion, which is quadratic in the length of a run of marks. Sorting each run
// by combining class beforehand is a part of normalisation itself (canonical ordering, stable), changes no length, and
// leaves ICU nothing to insert far away.
std::string SortMarks(absl::string_view text) {
  struct Mark {
    int combining_class;
    char32_t code_point;
  };
  std::string sorted;
  sorted.reserve(text.size());
  std::vector<Mark> run;
  const auto flush_run = [&] {
    std::stable_sort(run.begin(), run.end(),
                     [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    for (const Mark& mark : run) AppendUtf8(mark.code_point, sorted);
    run.clear();
  };
  for (size_t position = 0; position < text.size();) {
    const char32_t code_point = NextCodePoint(text, position);
    const int combining_class = code_point < 0x300 ? 0 : u_getCombiningClass(static_cast<UChar32>(code_point));
    if (combining_class != 0) {
      run.push_back({combining_class, code_point});
      continue;
    }
    flush_run();
    AppendUtf8(code_point, sorted);
  }
  flush_run();
  return sorted;
}

}  // namespace

struct NfcText::Changed {
  std::string text;
  icu::Edits edits;
  icu::Edits::Iterator iterator;
};

NfcText::NfcText() = default;
NfcText::~NfcText() = default;
NfcText::NfcText(NfcText&&) noexcept = default;
NfcText& NfcText::operator=(NfcText&&) noexcept = default;

absl::StatusOr<NfcText> NfcText::Normalize(absl::string_view text) {
  NfcText result;
  result.original_ = text;
  if (IsAscii(text)) return result;
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(error);
  if (U_FAILURE(error)) return absl::InternalError(absl::StrCat("ICU's NFC data: ", u_errorName(error)));
  const icu::StringPiece piece(text.data(), static_cast<int32_t>(text.size()));
  if (nfc->isNormalizedUTF8(piece, error) && U_SUCCESS(error)) return result;

  const std::string sorted = SortMarks(text);
  result.changed_ = std::make_unique<Changed>();
  icu::StringByteSink<std::string> sink(&result.changed_->text);
  nfc->normalizeUTF8(0, icu::StringPiece(sorted.data(), static_cast<int32_t>(sorted.size())), sink,
                     &result.changed_->edits, error);
  if (U_FAILURE(error)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("Unicode normalisation of ", text.size(), " bytes: ", u_errorName(error)));
  }
  result.changed_->iterator = result.changed_->edits.getFineIterator();
  return result;
}

absl::string_view NfcText::text() const { return changed_ ? absl::string_view(changed_->text) : original_; }

size_t NfcText::OriginalOffset(size_t offset) {
  if (!changed_) return offset;
  UErrorCode error = U_ZERO_ERROR;
  return static_cast<size_t>(changed_->iterator.sourceIndexFromDestinationIndex(static_cast<int32_t>(offset), error));
}

}  // namespace slimfill::engine
