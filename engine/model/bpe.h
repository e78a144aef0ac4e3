// Byte-pair encoding of one word: the merges learned in training, applied in their order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace slimfill::engine {

using TokenId = int32_t;

// A token and the offset behind its last byte.
struct TokenEnd {
  TokenId token;
  size_t end;
};

// Immutable and thread safe.
class BytePairEncoder {
 public:
  struct Merge {
    TokenId left, right, result;
  };
  // `byte_tokens` has the token of each byte, -1 where the vocabulary has none; `merges` are in order of their rank.
  BytePairEncoder(const std::vector<TokenId>& byte_tokens, const std::vector<Merge>& merges);

  // Memory that calls may share, so that a word costs no allocation.
  class Scratch {
    friend class BytePairEncoder;
    struct Symbol {
      TokenId token;  // -1 once it was merged into the one before
      uint32_t end;
      int32_t previous, next;
    };
    struct Candidate {
      int32_t rank;
      int32_t left;  // index of the pair's left symbol
      TokenId left_token, right_token;
    };
    std::vector<Symbol> symbols_;
    std::vector<Candidate> heap_;
  };

  // Appends the tokens of `word` (below 2^31 bytes), ends counted from `offset`: merges the pair of lowest rank, the
  // leftmost of equal ones, until no pair has a merge. O(n log n). Bytes without a token are left out, as HF does.
  void Encode(absl::string_view word, size_t offset, Scratch& scratch, std::vector<TokenEnd>& out) const;

  TokenId byte_token(unsigned char byte) const { return byte_tokens_[byte]; }

 private:
  struct Target {
    int32_t rank;
    TokenId result;
  };
  static uint64_t Key(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  void PushPair(Scratch& scratch, int32_t left) const;
  // The symbols of the word's bytes, linked; their number.
  int32_t FillSymbols(absl::string_view word, Scratch& scratch) const;

  std::vector<TokenId> byte_tokens_;
  absl::flat_hash_map<uint64_t, Target> merges_;
};

}  // namespace slimfill::engine
