// Where the question stands in a prompt.
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "engine/prune/policy.h"

namespace slimfill::engine {
namespace {

constexpr int64_t kFallbackTokens = 64;
constexpr int64_t kMaxQuestionTokens = 256;

// Whether a blank line ends within the last tokens before `end`: "\n\n" may be one token or two.
bool EndsWithBlankLine(absl::Span<const TokenId> prompt, int64_t begin, int64_t end, const Tokenizer& tokenizer) {
  std::string tail;
  for (int64_t i = std::max(begin, end - 2); i < end; ++i) tail += std::string(tokenizer.TokenBytes(prompt[i]));
  return absl::EndsWith(tail, "\n\n");
}

// The first token after the last blank line within [begin, end), or -1.
int64_t LastParagraph(absl::Span<const TokenId> prompt, int64_t begin, int64_t end, const Tokenizer& tokenizer) {
  const int64_t stop = std::max(begin, end - kMaxQuestionTokens);
  for (int64_t i = end - 1; i > stop; --i) {
    if (EndsWithBlankLine(prompt, begin, i, tokenizer)) return i;
  }
  return -1;
}

// One past the first paragraph's last token within [begin, end), or -1.
int64_t FirstParagraphEnd(absl::Span<const TokenId> prompt, int64_t begin, int64_t end, const Tokenizer& tokenizer) {
  const int64_t stop = std::min(end, begin + kMaxQuestionTokens);
  for (int64_t i = begin + 1; i < stop; ++i) {
    if (EndsWithBlankLine(prompt, begin, i, tokenizer)) return i;
  }
  return -1;
}

std::string Text(absl::Span<const TokenId> prompt, TokenRange range, const Tokenizer& tokenizer) {
  return tokenizer.Decode(prompt.subspan(range.first, range.second - range.first));
}

// Whether a question mark ends a word somewhere, which that of a web address does not: the form of the answer is often
// told behind it.
bool Asks(absl::string_view text) {
  for (const absl::string_view mark : {"\xEF\xBC\x9F", "\xD8\x9F"}) {  // full-width, Arabic
    if (absl::StrContains(text, mark)) return true;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '?' && (i + 1 == text.size() || !absl::ascii_isalnum(text[i + 1]))) return true;
  }
  return false;
}

// Whether a first paragraph says that what it is about comes after it.
bool PointsAhead(absl::string_view text) {
  const std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(text));
  return absl::StrContains(lower, " below") || absl::StrContains(lower, " following") || absl::EndsWith(lower, ":");
}

}  // namespace

QuestionSegment FindQuestion(absl::Span<const TokenId> prompt, const std::optional<TokenRange>& explicit_span,
                             const std::optional<TokenRange>& last_user_content, const Tokenizer& tokenizer) {
  const int64_t n = static_cast<int64_t>(prompt.size());
  // The document comes after the question when more than half of the prompt does.
  const auto segment = [n](TokenRange tokens) { return QuestionSegment{tokens, n - tokens.second > n / 2}; };
  if (explicit_span.has_value()) return segment(*explicit_span);
  if (last_user_content.has_value() && last_user_content->second > last_user_content->first) {
    const auto [begin, end] = *last_user_content;
    const int64_t last = LastParagraph(prompt, begin, end, tokenizer);
    const int64_t first_end = FirstParagraphEnd(prompt, begin, end, tokenizer);
    if (last >= 0 && Asks(Text(prompt, {last, end}, tokenizer))) return segment({last, end});
    if (first_end >= 0) {
      const std::string first = Text(prompt, {begin, first_end}, tokenizer);
      // A short last paragraph may as well tell what to do with what the first one announced.
      const bool last_may_ask = last >= 0 && end - last <= kFallbackTokens;
      if (Asks(first) || (PointsAhead(first) && !last_may_ask)) return segment({begin, first_end});
    }
    if (last >= 0) return segment({last, end});
    return segment({std::max(begin, end - kFallbackTokens), end});
  }
  return segment({std::max<int64_t>(0, n - kFallbackTokens), n});
}

std::vector<TokenId> ProbeTokens(absl::Span<const TokenId> prompt, const QuestionSegment& question,
                                 const std::optional<TokenRange>& last_user_content) {
  if (!question.before_document) return {};
  std::vector<TokenId> probe(prompt.begin() + question.tokens.first, prompt.begin() + question.tokens.second);
  if (last_user_content.has_value()) {
    const int64_t closing = std::max(last_user_content->second, question.tokens.second);
    probe.insert(probe.end(), prompt.begin() + closing, prompt.end());
  }
  const auto excess = static_cast<int64_t>(probe.size()) - kMaxProbeTokens;
  if (excess > 0) probe.erase(probe.begin(), probe.begin() + excess);
  return probe;
}

}  // namespace slimfill::engine
