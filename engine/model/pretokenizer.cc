#include "engine/model/pretokenizer.h"

#include <unicode/uchar.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "engine/model/utf8.h"

namespace slimfill::engine {
namespace {

enum class CharClass : unsigned char { kLetter, kNumber, kSpace, kNewline, kOther, kEnd };  // kNewline: \r and \n

CharClass ClassifyWithIcu(char32_t code_point) {
  const uint32_t category = U_GET_GC_MASK(static_cast<UChar32>(code_point));
  if (category & U_GC_L_MASK) return CharClass::kLetter;
  if (category & U_GC_N_MASK) return CharClass::kNumber;
  return u_isUWhiteSpace(static_cast<UChar32>(code_point)) ? CharClass::kSpace : CharClass::kOther;
}

constexpr std::array<CharClass, 128> MakeAsciiClasses() {
  std::array<CharClass, 128> classes{};
  for (int c = 0; c < 128; ++c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      classes[c] = CharClass::kLetter;
    } else if (c >= '0' && c <= '9') {
      classes[c] = CharClass::kNumber;
    } else if (c == '\r' || c == '\n') {
      classes[c] = CharClass::kNewline;
    } else if (c == ' ' || (c >= '\t' && c <= '\r')) {
      classes[c] = CharClass::kSpace;
    } else {
      classes[c] = CharClass::kOther;
    }
  }
  return classes;
}
constexpr std::array<CharClass, 128> kAsciiClasses = MakeAsciiClasses();

// How a character counts in kTekken's words: upper-case part, lower-case part, either, or none.
enum class Case : unsigned char { kUpper, kLower, kEither, kNone };

Case CaseOf(char32_t code_point) {
  const uint32_t category = U_GET_GC_MASK(static_cast<UChar32>(code_point));
  if (category & (U_GC_LU_MASK | U_GC_LT_MASK)) return Case::kUpper;
  if (category & U_GC_LL_MASK) return Case::kLower;
  return category & (U_GC_L_MASK | U_GC_M_MASK) ? Case::kEither : Case::kNone;
}

bool IsSpace(CharClass c) { return c == CharClass::kSpace || c == CharClass::kNewline; }

// Reads classes off the text.
class Scanner {
 public:
  explicit Scanner(absl::string_view text) : text_(text) {}

  // Class of the character at `position` (kEnd behind the text), and where the next one begins.
  CharClass At(size_t position, size_t& next) const {
    next = position;
    if (position >= text_.size()) return CharClass::kEnd;
    const auto lead = static_cast<unsigned char>(text_[position]);
    if (lead < 0x80) {
      ++next;
      return kAsciiClasses[lead];
    }
    return ClassifyWithIcu(NextCodePoint(text_, next));
  }
  CharClass At(size_t position) const {
    size_t next;
    return At(position, next);
  }

  // The case of the character at `position`, and where the next one begins.
  Case CaseAt(size_t position, size_t& next) const {
    next = position;
    return position < text_.size() ? CaseOf(NextCodePoint(text_, next)) : Case::kNone;
  }

  // End of the run of `wanted` at `position`, of at most `limit` characters.
  size_t RunEnd(size_t position, CharClass wanted, int limit = -1) const {
    size_t next;
    while (limit-- != 0 && At(position, next) == wanted) position = next;
    return position;
  }

  bool IsByte(size_t position, char byte) const { return position < text_.size() && text_[position] == byte; }

  // Bytes of the contraction 's|'t|'re|'ve|'m|'ll|'d at `position`; 0 when there is none.
  size_t ContractionBytes(size_t position, bool ignore_case) const {
    if (!IsByte(position, '\'')) return 0;
    const auto letter = [&](size_t i) {
      const char c = position + i < text_.size() ? text_[position + i] : '\0';
      return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    };
    const char first = letter(1), second = letter(2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
    if ((first == 'r' || first == 'v') && second == 'e') return 3;
    if (first == 'l' && second == 'l') return 3;
    // U+017F, the long s, is the one character outside ASCII that folds to a letter of these.
    if (ignore_case && first == '\xC5' && second == '\xBF') return 3;
    return 0;
  }

  // \s+(?!\S)|\s+ : a run of white space leaves its last character to the word that follows, unless it has only one.
  size_t SpaceWordEnd(size_t begin, bool digit_ends_text) const {
    size_t end = begin, last = begin, next;
    CharClass c;
    while (IsSpace(c = At(end, next))) {
      last = end;
      end = next;
    }
    const bool at_end = c == CharClass::kEnd || (digit_ends_text && c == CharClass::kNumber);
    return at_end || last == begin ? end : last;
  }

  // \s*[\r\n]+ : through the last newline of the run of white space; `begin` when it has none.
  size_t NewlineWordEnd(size_t begin) const {
    size_t end = begin, next;
    CharClass c;
    for (size_t position = begin; IsSpace(c = At(position, next)); position = next) {
      if (c == CharClass::kNewline) end = next;
    }
    return end;
  }

 private:
  absl::string_view text_;
};

size_t Gpt2WordEnd(const PreTokenizerRules& rules, const Scanner& scanner, size_t begin) {
  if (const size_t contraction = scanner.ContractionBytes(begin, false)) return begin + contraction;
  if (rules.isolated_digits && scanner.At(begin) == CharClass::kNumber) {
    return scanner.RunEnd(begin, CharClass::kNumber, 1);
  }
  const size_t body = scanner.IsByte(begin, ' ') ? begin + 1 : begin;
  const CharClass c = scanner.At(body);
  const bool is_word =
      c == CharClass::kLetter || c == CharClass::kOther || (c == CharClass::kNumber && !rules.isolated_digits);
  if (is_word) return scanner.RunEnd(body, c);
  return scanner.SpaceWordEnd(begin, rules.isolated_digits);
}

size_t Cl100kWordEnd(const PreTokenizerRules& rules, const Scanner& scanner, size_t begin) {
  if (const size_t contraction = scanner.ContractionBytes(begin, true)) return begin + contraction;
  size_t second;
  const CharClass first = scanner.At(begin, second);
  if (first == CharClass::kLetter) return scanner.RunEnd(begin, CharClass::kLetter);
  if (first == CharClass::kNumber) return scanner.RunEnd(begin, CharClass::kNumber, rules.max_digits);
  if (first != CharClass::kNewline && scanner.At(second) == CharClass::kLetter) {
    return scanner.RunEnd(second, CharClass::kLetter);
  }
  const size_t body = scanner.IsByte(begin, ' ') ? second : begin;
  if (scanner.At(body) == CharClass::kOther) {
    return scanner.RunEnd(scanner.RunEnd(body, CharClass::kOther), CharClass::kNewline);
  }
  if (const size_t end = scanner.NewlineWordEnd(begin); end != begin) return end;
  return scanner.SpaceWordEnd(begin, false);
}

// U*W+ at `begin`, or where only U+W* matches, that; whether it is the former. `end` is `begin` for neither.
bool TekkenLetters(const Scanner& scanner, size_t begin, size_t& end) {
  size_t upper_end = begin, either_end = begin, next;
  Case c;
  while ((c = scanner.CaseAt(upper_end, next)) == Case::kUpper || c == Case::kEither) {
    upper_end = next;
    if (c == Case::kEither) either_end = next;
  }
  if (c == Case::kLower) {
    for (end = upper_end; (c = scanner.CaseAt(end, next)) == Case::kLower || c == Case::kEither;) end = next;
    return true;
  }
  // W+ takes back the last character of the run that may count as lower case.
  end = either_end != begin ? either_end : upper_end;
  return either_end != begin;
}

size_t TekkenWordEnd(const Scanner& scanner, size_t begin) {
  size_t second, with_prefix, alone;
  const CharClass first = scanner.At(begin, second);
  const bool may_be_prefix = first == CharClass::kSpace || first == CharClass::kOther;
  with_prefix = second;
  if (may_be_prefix && TekkenLetters(scanner, second, with_prefix)) return with_prefix;
  if (TekkenLetters(scanner, begin, alone)) return alone;
  if (may_be_prefix && with_prefix != second) return with_prefix;
  if (alone != begin) return alone;
  if (first == CharClass::kNumber) return second;
  const size_t body = scanner.IsByte(begin, ' ') ? second : begin;
  if (scanner.At(body) == CharClass::kOther) {
    size_t end = scanner.RunEnd(body, CharClass::kOther);
    while (scanner.IsByte(end, '\r') || scanner.IsByte(end, '\n') || scanner.IsByte(end, '/')) ++end;
    return end;
  }
  if (const size_t end = scanner.NewlineWordEnd(begin); end != begin) return end;
  return scanner.SpaceWordEnd(begin, false);
}

}  // namespace

absl::StatusOr<PreTokenizerRules> PreTokenizerRulesFor(absl::string_view name) {
  if (name == "gpt-2") return PreTokenizerRules{.pattern = PreTokenizerPattern::kGpt2};
  if (name == "smollm") return PreTokenizerRules{.pattern = PreTokenizerPattern::kGpt2, .isolated_digits = true};
  if (name == "qwen2") return PreTokenizerRules{.pattern = PreTokenizerPattern::kCl100k, .normalize_nfc = true};
  if (name == "llama-bpe") {
    return PreTokenizerRules{.pattern = PreTokenizerPattern::kCl100k, .max_digits = 3, .whole_word_lookup = true};
  }
  if (name == "tekken") return PreTokenizerRules{.pattern = PreTokenizerPattern::kTekken, .whole_word_lookup = true};
  return absl::InvalidArgumentError(absl::StrCat("pre-tokenizer '", name, "' is not supported (tokenizer.ggml.pre); ",
                                                 "supported are qwen2, smollm, gpt-2, llama-bpe and tekken"));
}

size_t NextWordEnd(const PreTokenizerRules& rules, absl::string_view text, size_t begin) {
  const Scanner scanner(text);
  switch (rules.pattern) {
    case PreTokenizerPattern::kGpt2:
      return Gpt2WordEnd(rules, scanner, begin);
    case PreTokenizerPattern::kCl100k:
      return Cl100kWordEnd(rules, scanner, begin);
    case PreTokenizerPattern::kTekken:
      break;
  }
  return TekkenWordEnd(scanner, begin);
}

}  // namespace slimfill::engine
