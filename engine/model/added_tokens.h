// Finding tokens that are matched in the text as they are written, before any word is cut (HF: "added tokens").
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/model/bpe.h"

namespace slimfill::engine {

// Immutable and thread safe.
class AddedTokenMatcher {
 public:
  // Texts are not empty and differ.
  explicit AddedTokenMatcher(std::vector<std::pair<std::string, TokenId>> tokens);

  struct Match {
    size_t begin, end;
    TokenId token;  // -1: none, and begin is text.size()
  };
  // The leftmost match at or behind `from`, the longest of those that begin there.
  Match Find(absl::string_view text, size_t from) const;
  // The token whose text is exactly `text`; -1 when there is none.
  TokenId Lookup(absl::string_view text) const;

 private:
  Match LongestAt(absl::string_view text, size_t begin) const;

  std::vector<std::pair<std::string, TokenId>> tokens_;  // sorted by text
  bool may_begin_[256] = {};
};

}  // namespace slimfill::engine
