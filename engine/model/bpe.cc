#include "engine/model/bpe.h"

#include <algorithm>

#include "base/status.h"

namespace slimfill::engine {

BytePairEncoder::BytePairEncoder(const std::vector<TokenId>& byte_tokens, const std::vector<Merge>& merges)
    : byte_tokens_(byte_tokens) {
  SLIMFILL_CHECK(byte_tokens.size() == 256);
  merges_.reserve(merges.size());
  int32_t rank = 0;
  // A pair that is listed twice has its first rank.
  for (const Merge& merge : merges) merges_.try_emplace(Key(merge.left, merge.right), Target{rank++, merge.result});
}

int32_t BytePairEncoder::FillSymbols(absl::string_view word, Scratch& scratch) const {
  auto& symbols = scratch.symbols_;
  symbols.clear();
  for (size_t i = 0; i < word.size(); ++i) {
    const TokenId token = byte_tokens_[static_cast<unsigned char>(word[i])];
    if (token < 0) continue;
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({token, static_cast<uint32_t>(i + 1), index - 1, index + 1});
  }
  if (!symbols.empty()) symbols.back().next = -1;
  return static_cast<int32_t>(symbols.size());
}

namespace {

// std::push_heap keeps the largest on top; the next merge is the smallest.
constexpr auto kLater = [](const auto& a, const auto& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
};

}  // namespace

void BytePairEncoder::PushPair(Scratch& scratch, int32_t left) const {
  const auto& symbol = scratch.symbols_[left];
  if (symbol.next < 0) return;
  const TokenId right_token = scratch.symbols_[symbol.next].token;
  const auto merge = merges_.find(Key(symbol.token, right_token));
  if (merge == merges_.end()) return;
  scratch.heap_.push_back({merge->second.rank, left, symbol.token, right_token});
  std::push_heap(scratch.heap_.begin(), scratch.heap_.end(), kLater);
}

void BytePairEncoder::Encode(absl::string_view word, size_t offset, Scratch& scratch,
                             std::vector<TokenEnd>& out) const {
  const int32_t count = FillSymbols(word, scratch);
  auto& symbols = scratch.symbols_;
  auto& heap = scratch.heap_;
  heap.clear();
  for (int32_t i = 0; i < count; ++i) PushPair(scratch, i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), kLater);
    const Scratch::Candidate pair = heap.back();
    heap.pop_back();
    // Merges since it was pushed may have taken one of the pair's symbols away.
    auto& left = symbols[pair.left];
    if (left.token != pair.left_token || left.next < 0) continue;
    auto& right = symbols[left.next];
    if (right.token != pair.right_token) continue;

    left.token = merges_.find(Key(pair.left_token, pair.right_token))->second.result;
    left.end = right.end;
    right.token = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = pair.left;
    PushPair(scratch, pair.left);
    if (left.previous >= 0) PushPair(scratch, left.previous);
  }
  for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = symbols[i].next) {
    out.push_back({symbols[i].token, offset + symbols[i].end});
  }
}

}  // namespace slimfill::engine
