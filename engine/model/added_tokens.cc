#include "engine/model/added_tokens.h"

#include <algorithm>

namespace slimfill::engine {

AddedTokenMatcher::AddedTokenMatcher(std::vector<std::pair<std::string, TokenId>> tokens) : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end());
  for (const auto& [text, token] : tokens_) may_begin_[static_cast<unsigned char>(text[0])] = true;
}

AddedTokenMatcher::Match AddedTokenMatcher::Find(absl::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!may_begin_[static_cast<unsigned char>(text[begin])]) continue;
    if (const Match match = LongestAt(text, begin); match.token >= 0) return match;
  }
  return {text.size(), text.size(), -1};
}

// Narrows the sorted range of texts that agree with the text so far, byte by byte.
AddedTokenMatcher::Match AddedTokenMatcher::LongestAt(absl::string_view text, size_t begin) const {
  Match longest{text.size(), text.size(), -1};
  auto low = tokens_.begin(), high = tokens_.end();
  for (size_t length = 0; begin + length < text.size(); ++length) {
    const auto wanted = static_cast<unsigned char>(text[begin + length]);
    // Texts of exactly `length` bytes are at the front of the range and have no byte here.
    const auto byte_before = [length](const auto& entry, unsigned char byte) {
      return entry.first.size() <= length || static_cast<unsigned char>(entry.first[length]) < byte;
    };
    const auto before_byte = [length](unsigned char byte, const auto& entry) {
      return entry.first.size() > length && byte < static_cast<unsigned char>(entry.first[length]);
    };
    low = std::lower_bound(low, high, wanted, byte_before);
    high = std::upper_bound(low, high, wanted, before_byte);
    if (low == high) break;
    if (low->first.size() == length + 1) longest = {begin, begin + length + 1, low->second};
  }
  return longest;
}

TokenId AddedTokenMatcher::Lookup(absl::string_view text) const {
  const auto entry = std::lower_bound(tokens_.begin(), tokens_.end(), text,
                                      [](const auto& entry, absl::string_view text) { return entry.first < text; });
  return entry != tokens_.end() && entry->first == text ? entry->second : -1;
}

}  // namespace slimfill::engine
