#include "engine/eval/source_text.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/eval/rng.h"
#include "engine/model/utf8.h"

namespace slimfill::eval {
namespace {

constexpr size_t kPieceBytes = 500;
constexpr size_t kLongParagraph = 200;

void TrimLineEnd(std::string& text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.pop_back();
}

// Replaces each innermost X<...> by what it holds, until none is left: B<I<x>> becomes x.
std::string WithoutPodMarkup(std::string text) {
  for (size_t open = text.rfind('<'); open != std::string::npos && open > 0;) {
    const size_t close = text.find('>', open);
    const bool marked = close != std::string::npos && absl::ascii_isupper(text[open - 1]);
    if (marked) {
      std::string inner = text.substr(open + 1, close - open - 1);
      if (text[open - 1] == 'E') inner = inner == "lt" ? "less than" : inner == "gt" ? "greater than" : "";
      text.replace(open - 1, close - open + 2, inner);
    }
    open = open < 2 ? std::string::npos : text.rfind('<', open - 1 - (marked ? 1 : 0));
  }
  return text;
}

// "=head1 NAME" becomes "NAME"; commands that carry no text for the reader go.
std::string CommandText(absl::string_view line) {
  if (!absl::StartsWith(line, "=head") && !absl::StartsWith(line, "=item")) return "";
  const size_t space = line.find(' ');
  return space == absl::string_view::npos ? "" : std::string(absl::StripAsciiWhitespace(line.substr(space)));
}

}  // namespace

std::string CleanText(absl::string_view bytes, int max_blank_lines) {
  std::string out;
  out.reserve(bytes.size());
  int newlines = max_blank_lines + 1;  // none before the first line
  while (!bytes.empty()) {
    const engine::Utf8Char c = engine::FirstUtf8Char(bytes);
    const absl::string_view text = bytes.substr(0, c.bytes);
    bytes.remove_prefix(c.bytes);
    if (text == "\n") {
      TrimLineEnd(out);
      if (++newlines <= max_blank_lines + 1) out.push_back('\n');
    } else if (c.state == engine::Utf8State::kValid && (text == "\t" || c.code_point >= 0x20) && c.code_point != 0x7f) {
      if (text != " " && text != "\t") newlines = 0;
      out.append(text.data(), text.size());
    }
  }
  while (!out.empty() && absl::ascii_isspace(out.back())) out.pop_back();
  if (!out.empty()) out.push_back('\n');
  return out;
}

std::string PodText(absl::string_view source) {
  std::string out;
  bool in_pod = false;
  bool hidden = false;  // between =begin and =end, for other formatters
  for (const absl::string_view line : absl::StrSplit(source, '\n')) {
    if (line.size() > 1 && line[0] == '=' && absl::ascii_isalpha(line[1])) {
      in_pod = !absl::StartsWith(line, "=cut");
      hidden = absl::StartsWith(line, "=begin") || (hidden && !absl::StartsWith(line, "=end"));
      if (in_pod && !hidden) absl::StrAppend(&out, WithoutPodMarkup(CommandText(line)), "\n");
    } else if (in_pod && !hidden) {
      absl::StrAppend(&out, WithoutPodMarkup(std::string(line)), "\n");
    }
  }
  return out;
}

std::vector<std::string> SplitPieces(absl::string_view text) {
  std::vector<std::string> pieces;
  std::string piece;
  const auto finish = [&] {
    if (!piece.empty()) pieces.push_back(std::move(piece));
    piece.clear();
  };
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    const absl::string_view line = text.substr(0, end);
    text.remove_prefix(end);
    // Blank lines stay with the paragraph before them; short paragraphs stay with the next.
    const bool starts_paragraph = EndsParagraph(piece) && line != "\n";
    if ((starts_paragraph && piece.size() + line.size() > kPieceBytes / 2) ||
        piece.size() + line.size() > kPieceBytes) {
      if (line != "\n") finish();
    }
    piece.append(line.data(), line.size());
  }
  finish();
  return pieces;
}

bool EndsParagraph(absl::string_view piece) { return absl::EndsWith(piece, "\n\n"); }

std::vector<uint64_t> LongParagraphs(absl::string_view text) {
  std::vector<uint64_t> hashes;
  for (const absl::string_view paragraph : absl::StrSplit(text, "\n\n")) {
    std::string words(paragraph);
    absl::RemoveExtraAsciiWhitespace(&words);
    std::replace(words.begin(), words.end(), '\n', ' ');
    if (words.size() >= kLongParagraph) hashes.push_back(HashText(words));
  }
  return hashes;
}

}  // namespace slimfill::eval
