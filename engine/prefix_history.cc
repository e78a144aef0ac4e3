#include "engine/prefix_history.h"

#include <algorithm>
#include <utility>

namespace slimfill::engine {
namespace {

size_t CommonPrefix(const std::vector<TokenId>& a, const std::vector<TokenId>& b) {
  const size_t shorter = std::min(a.size(), b.size());
  return std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(shorter), b.begin()).first - a.begin();
}

}  // namespace

void PrefixHistory::Note(std::vector<TokenId> tokens, const std::string& tenant_salt) {
  auto best = conversations_.end();
  size_t best_common = 0;
  for (auto it = conversations_.begin(); it != conversations_.end(); ++it) {
    if (it->tenant_salt != tenant_salt) continue;
    const size_t common = CommonPrefix(it->tokens, tokens);
    if (common > best_common && 2 * common >= it->tokens.size()) {
      best = it;
      best_common = common;
    }
  }
  if (best == conversations_.end()) {
    conversations_.push_front({.tokens = std::move(tokens), .tenant_salt = tenant_salt});
    if (conversations_.size() > max_size_) conversations_.pop_back();
    return;
  }
  best->tokens = std::move(tokens);
  ++best->requests;
  best->settled = false;
  conversations_.splice(conversations_.begin(), conversations_, best);
}

Conversation* PrefixHistory::Next() {
  Conversation* next = nullptr;
  for (Conversation& conversation : conversations_) {
    if (conversation.settled || conversation.value() < min_value_) continue;
    if (next == nullptr || conversation.value() > next->value()) next = &conversation;
  }
  return next;
}

}  // namespace slimfill::engine
