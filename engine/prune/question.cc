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

bool Asks(absl::Span<const TokenId> prompt, TokenRange range, const Tokenizer& tokenizer) {
  const std::string text = tokenizer.Decode(prompt.subspan(range.first, range.second - range.first));
  const absl::string_view trimmed = absl::StripAsciiWhitespace(text);
  return absl::EndsWith(trimmed, "?") || absl::EndsWith(trimmed, "\xEF\xBC\x9F");  // also the full-width question mark
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
    const bool last_asks = last >= 0 && Asks(prompt, {last, end}, tokenizer);
    if (!last_asks && first_end >= 0 && Asks(prompt, {begin, first_end}, tokenizer)) return segment({begin, first_end});
    if (last >= 0) return segment({last, end});
    return segment({std::max(begin, end - kFallbackTokens), end});
  }
  return segment({std::max<int64_t>(0, n - kFallbackTokens), n});
}

}  // namespace slimfill::engine
