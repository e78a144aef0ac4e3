#include "engine/eval/code_facts.h"

#include <algorithm>
#include <map>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace slimfill::eval {
namespace {

struct Line {
  absl::string_view text;  // without indentation
  size_t indent;
  ByteRange range;  // of `text`
};

std::vector<Line> SplitLines(absl::string_view code) {
  std::vector<Line> lines;
  for (const absl::string_view line : absl::StrSplit(code, '\n')) {
    const size_t indent = std::min(line.find_first_not_of(' '), line.size());
    const auto begin = static_cast<size_t>(line.data() - code.data()) + indent;
    lines.push_back({line.substr(indent), indent, {begin, begin + line.size() - indent}});
  }
  return lines;
}

bool IsDigit(char c) { return absl::ascii_isdigit(c); }
bool IsNameChar(char c) { return absl::ascii_isalnum(c) || c == '_'; }

absl::string_view TakeName(absl::string_view& text) {
  const auto* end = std::find_if_not(text.begin(), text.end(), IsNameChar);
  const absl::string_view name = text.substr(0, end - text.begin());
  text.remove_prefix(name.size());
  return name;
}

size_t CountIn(absl::string_view text, absl::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != absl::string_view::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// The value of a literal worth asking for: a number of two digits or more, or a plain string with a letter.
std::optional<std::string> PlainLiteral(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  if (text.size() >= 3 && std::all_of(text.begin(), text.end(), [](char c) { return IsDigit(c) || c == '.'; })) {
    const bool whole = IsDigit(text.front()) && IsDigit(text.back());
    if (!whole || (absl::StrContains(text, ".") && text.back() == '0')) return std::nullopt;
    return std::string(text);
  }
  if (text.size() < 5 || (text.front() != '\'' && text.front() != '"') || text.back() != text.front()) {
    return std::nullopt;
  }
  const absl::string_view inner = text.substr(1, text.size() - 2);
  const bool plain =
      std::all_of(inner.begin(), inner.end(), [](char c) { return IsNameChar(c) || c == '-' || c == '.' || c == '/'; });
  const bool edges =
      IsNameChar(inner.front()) && IsNameChar(inner.back()) && inner.front() != '_' && inner.back() != '_';
  const bool letters = std::count_if(inner.begin(), inner.end(), absl::ascii_isalpha) >= 3;
  if (!plain || !edges || !letters) return std::nullopt;
  return std::string(inner);
}

// "text" of `ValueError("text")`: a message of several words without placeholders.
std::optional<std::string> Message(absl::string_view call) {
  const size_t open = call.find('(');
  if (open == absl::string_view::npos || !absl::EndsWith(call, ")")) return std::nullopt;
  const absl::string_view literal = call.substr(open + 1, call.size() - open - 2);
  if (literal.size() < 12 || (literal.front() != '\'' && literal.front() != '"')) return std::nullopt;
  const absl::string_view inner = literal.substr(1, literal.size() - 2);
  const bool plain =
      literal.back() == literal.front() && inner.find_first_of("'\"%{}\\*_`#") == absl::string_view::npos;
  if (!plain || !absl::StrContains(inner, " ") || !IsNameChar(inner.back())) return std::nullopt;
  return std::string(inner);
}

// "a, b=1" of "def f(a, b=1):" and of "def f(a, b=1) -> int:".
absl::string_view Parameters(absl::string_view after_name) {
  const size_t close = after_name.rfind(')');
  if (!absl::StartsWith(after_name, "(") || close == absl::string_view::npos || !absl::EndsWith(after_name, ":")) {
    return "";
  }
  return after_name.substr(1, close - 1);
}

class Finder {
 public:
  explicit Finder(absl::string_view code)
      : code_(code), lower_code_(absl::AsciiStrToLower(code)), lines_(SplitLines(code)) {
    for (const Line& line : lines_) {
      absl::string_view text = line.text;
      if (absl::ConsumePrefix(&text, "def ") || absl::ConsumePrefix(&text, "async def ")) {
        ++definitions_[TakeName(text)];
      }
    }
  }

  std::vector<CodeFact> Run() {
    for (size_t i = 0; i < lines_.size(); ++i) {
      absl::string_view text = lines_[i].text;
      if (absl::ConsumePrefix(&text, "def ") || absl::ConsumePrefix(&text, "async def ")) {
        const absl::string_view function = TakeName(text);
        if (definitions_[function] != 1 || absl::StartsWith(function, "__")) continue;
        AddDefaults(function, Parameters(text), lines_[i]);
        AddBody(function, i);
      } else if (lines_[i].indent <= 4) {
        AddConstant(lines_[i]);
      }
    }
    return std::move(facts_);
  }

 private:
  // A value that the name asked about gives away is no fact.
  void Add(absl::string_view name, std::string question, std::optional<std::string> value, std::string definition,
           std::vector<ByteRange> evidence) {
    if (!value.has_value() || CountIn(lower_code_, absl::AsciiStrToLower(*value)) != 1) return;
    if (absl::StrContains(absl::AsciiStrToLower(name), absl::AsciiStrToLower(*value))) return;
    facts_.push_back({std::move(question), *std::move(value), std::move(definition), std::move(evidence)});
  }

  void AddDefaults(absl::string_view function, absl::string_view parameters, const Line& line) {
    for (const absl::string_view parameter : absl::StrSplit(parameters, ',')) {
      const std::vector<absl::string_view> sides = absl::StrSplit(parameter, absl::MaxSplits('=', 1));
      if (sides.size() != 2) continue;
      absl::string_view name = absl::StripLeadingAsciiWhitespace(sides[0]);
      name = TakeName(name);
      Add(name,
          absl::StrCat("In the code {above}, what is the default value of the parameter ", name, " of the function ",
                       function, "? Answer with the value only."),
          PlainLiteral(sides[1]), absl::StrCat("def ", function, "("), {line.range});
    }
  }

  // What a body with a single return returns, and the message of one with a single raise.
  void AddBody(absl::string_view function, size_t definition) {
    const Line& head = lines_[definition];
    std::vector<const Line*> returns, raises;
    bool ended = false;
    for (size_t i = definition + 1; i < lines_.size(); ++i) {
      const Line& line = lines_[i];
      if (line.text.empty()) continue;
      ended = line.indent <= head.indent;
      if (ended) break;
      if (absl::StrContains(line.text, "yield") || absl::StrContains(line.text, "def ")) return;
      if (absl::StrContains(line.text, ": return") || absl::StrContains(line.text, ": raise")) return;
      if (absl::StartsWith(line.text, "return")) returns.push_back(&line);
      if (absl::StartsWith(line.text, "raise ")) raises.push_back(&line);
    }
    if (!ended) return;  // more of it may be cut off
    const std::string once = absl::StrCat("def ", function, "(");
    if (returns.size() == 1) {
      Add(function,
          absl::StrCat("In the code {above}, which value does the function ", function,
                       " return? Answer with the value only."),
          PlainLiteral(returns[0]->text.substr(6)), once, {head.range, returns[0]->range});
    }
    if (raises.size() == 1) {
      Add(function,
          absl::StrCat("In the code {above}, what is the message of the error that the function ", function,
                       " raises?"),
          Message(raises[0]->text), once, {head.range, raises[0]->range});
    }
  }

  // A name that is set once, in a module or a class.
  void AddConstant(const Line& line) {
    absl::string_view text = line.text;
    const absl::string_view name = TakeName(text);
    if (name.size() < 4 || absl::StartsWith(name, "_") || !absl::ConsumePrefix(&text, " = ")) return;
    const std::string once = absl::StrCat(" ", name, " =");
    if (CountIn(code_, once) + CountIn(code_, absl::StrCat("\n", name, " =")) != 1) return;
    Add(name, absl::StrCat("In the code {above}, which value is ", name, " set to? Answer with the value only."),
        PlainLiteral(text), absl::StrCat(name, " = "), {line.range});
  }

  absl::string_view code_;
  std::string lower_code_;  // values are compared without case
  std::vector<Line> lines_;
  std::map<absl::string_view, int> definitions_;
  std::vector<CodeFact> facts_;
};

}  // namespace

std::vector<CodeFact> FindCodeFacts(absl::string_view code) { return Finder(code).Run(); }

}  // namespace slimfill::eval
