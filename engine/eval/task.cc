#include "engine/eval/task.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace slimfill::eval {
namespace {

bool IsDigit(char c) { return absl::ascii_isdigit(c); }
// Bytes of other scripts count as letters: there is no cheap way to tell their punctuation.
bool IsWordByte(char c) { return absl::ascii_isalnum(c) || c == '_' || static_cast<unsigned char>(c) >= 0x80; }

char At(absl::string_view text, size_t position) { return position < text.size() ? text[position] : '\0'; }

// Whether the comma at `position` groups thousands: one to three digits before it that no group of more precedes, and
// three after it.
bool IsThousandsComma(absl::string_view text, size_t position) {
  size_t before = 0;
  while (before < position && IsDigit(text[position - before - 1])) ++before;
  size_t after = 0;
  while (IsDigit(At(text, position + 1 + after))) ++after;
  return before >= 1 && before <= 3 && after == 3;
}

// An underscore inside an identifier stays, escaped or not; one that marks emphasis goes.
bool IsEmphasis(absl::string_view text, size_t position) {
  size_t before = position;
  if (before > 0 && text[before - 1] == '\\') --before;
  const bool word_before = before > 0 && IsWordByte(text[before - 1]);
  return !word_before || !IsWordByte(At(text, position + 1));
}

bool IsMarkdownMark(absl::string_view text, size_t position) {
  const char c = text[position];
  if (c == '*' || c == '`' || c == '#') return true;
  if (c == '\\') return absl::ascii_ispunct(At(text, position + 1));  // an escaped mark
  return c == '_' && IsEmphasis(text, position);
}

bool BoundaryBefore(absl::string_view text, absl::string_view words, size_t position) {
  if (position == 0 || !IsWordByte(words.front())) return true;
  const char before = text[position - 1];
  if (IsWordByte(before)) return false;
  if (!IsDigit(words.front())) return true;
  const bool fraction = before == '.' && position >= 2 && IsDigit(text[position - 2]);
  const bool negative = before == '-' && (position < 2 || absl::ascii_isspace(text[position - 2]));
  return !fraction && !negative;
}

bool BoundaryAfter(absl::string_view text, absl::string_view words, size_t end) {
  if (end == text.size() || !IsWordByte(words.back())) return true;
  if (IsWordByte(text[end])) return false;
  return !(IsDigit(words.back()) && text[end] == '.' && IsDigit(At(text, end + 1)));
}

}  // namespace

std::string NormaliseText(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (absl::ascii_isspace(c)) {
      if (!out.empty() && out.back() != ' ') out.push_back(' ');
    } else if (!IsMarkdownMark(text, i) && !(c == ',' && IsThousandsComma(text, i))) {
      out.push_back(absl::ascii_tolower(c));
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

bool ContainsWords(absl::string_view text, absl::string_view words) {
  if (words.empty()) return false;
  for (size_t at = text.find(words); at != absl::string_view::npos; at = text.find(words, at + 1)) {
    if (BoundaryBefore(text, words, at) && BoundaryAfter(text, words, at + words.size())) return true;
  }
  return false;
}

bool IsRight(const EvalCase& eval_case, absl::string_view output) {
  if (eval_case.accept.empty()) return false;
  const std::string text = NormaliseText(output);
  const auto found = [&text](const std::string& words) { return ContainsWords(text, NormaliseText(words)); };
  const std::vector<std::string>& accept = eval_case.accept;
  return eval_case.all_required ? std::all_of(accept.begin(), accept.end(), found)
                                : std::any_of(accept.begin(), accept.end(), found);
}

}  // namespace slimfill::eval
