#include "engine/eval/python_strings.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/model/utf8.h"

namespace slimfill::eval {
namespace {

// Reads `digits` hexadecimal digits at `position` as a character.
bool AppendHexEscape(absl::string_view source, size_t& position, size_t digits, std::string& out) {
  uint32_t code_point = 0;
  if (!absl::SimpleHexAtoi(source.substr(std::min(position, source.size()), digits), &code_point)) return false;
  if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point < 0xE000)) return false;
  engine::AppendUtf8(code_point, out);
  position += digits;
  return true;
}

// The escape behind a backslash, at `position`. What Python does not know stays as it is written.
void AppendEscape(absl::string_view source, size_t& position, std::string& out) {
  const char c = source[position++];
  switch (c) {
    case '\n':
      return;
    case 'n':
      return out.push_back('\n');
    case 't':
      return out.push_back('\t');
    case 'r':
      return;
    case '\\':
    case '\'':
    case '"':
      return out.push_back(c);
    case 'x':
      if (AppendHexEscape(source, position, 2, out)) return;
      break;
    case 'u':
      if (AppendHexEscape(source, position, 4, out)) return;
      break;
  }
  out.push_back('\\');
  out.push_back(c);
}

std::string Dedent(absl::string_view text) {
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  size_t indent = std::string::npos;
  for (size_t i = 1; i < lines.size(); ++i) {
    const size_t first = lines[i].find_first_not_of(' ');
    if (first != std::string::npos) indent = std::min(indent, first);
  }
  for (size_t i = 1; i < lines.size() && indent != std::string::npos; ++i) {
    lines[i].erase(0, std::min(indent, lines[i].size()));
  }
  return std::string(absl::StripAsciiWhitespace(absl::StrJoin(lines, "\n")));
}

void SkipSpace(absl::string_view source, size_t& position) {
  while (position < source.size() && absl::ascii_isspace(source[position])) ++position;
}

}  // namespace

std::optional<std::string> ReadPythonString(absl::string_view source, size_t& position) {
  size_t at = position;
  bool raw = false;
  for (; at < source.size() && absl::StrContains("rRbBuUfF", source.substr(at, 1)) && at < position + 2; ++at) {
    raw |= source[at] == 'r' || source[at] == 'R';
  }
  if (at >= source.size() || (source[at] != '"' && source[at] != '\'')) return std::nullopt;
  const std::string triple(3, source[at]);
  const absl::string_view quote = source.substr(at, source.substr(at, 3) == triple ? 3 : 1);
  at += quote.size();
  std::string value;
  while (at < source.size()) {
    if (source.substr(at, quote.size()) == quote) {
      position = at + quote.size();
      return value;
    }
    if (source[at] == '\n' && quote.size() == 1) return std::nullopt;
    if (source[at] == '\\' && at + 1 < source.size() && !raw) {
      AppendEscape(source, ++at, value);
    } else {
      value.push_back(source[at++]);
    }
  }
  return std::nullopt;
}

std::vector<std::pair<std::string, std::string>> ReadPythonStringDict(absl::string_view source) {
  std::vector<std::pair<std::string, std::string>> entries;
  size_t at = source.find('{');
  while (at != absl::string_view::npos && ++at < source.size()) {  // behind the brace or a comma
    SkipSpace(source, at);
    std::optional<std::string> key = ReadPythonString(source, at);
    SkipSpace(source, at);
    if (!key.has_value() || at >= source.size() || source[at++] != ':') break;
    std::string value;
    SkipSpace(source, at);
    while (std::optional<std::string> part = ReadPythonString(source, at)) {
      value += *part;
      SkipSpace(source, at);
    }
    entries.emplace_back(*std::move(key), std::move(value));
    if (at >= source.size() || source[at] != ',') break;
  }
  return entries;
}

std::vector<std::string> ReadDocstrings(absl::string_view source) {
  std::vector<std::string> docstrings;
  size_t line = 0;
  while (line < source.size()) {
    size_t at = line;
    while (at < source.size() && source[at] == ' ') ++at;
    absl::string_view start = source.substr(at, 4);
    absl::ConsumePrefix(&start, "r");
    if (absl::StartsWith(start, "\"\"\"")) {
      if (std::optional<std::string> text = ReadPythonString(source, at)) docstrings.push_back(Dedent(*text));
    }
    const size_t end = source.find('\n', at);
    if (end == absl::string_view::npos) break;
    line = end + 1;
  }
  return docstrings;
}

}  // namespace slimfill::eval
