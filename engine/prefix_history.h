// What requests were about lately, and which of it is worth making hot in idle time. Keeps books; pure but for its own
// state.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "engine/model/tokenizer.h"

namespace slimfill::engine {

struct Conversation {
  std::vector<TokenId> tokens;  // prompt and answer of its latest request
  std::string tenant_salt;
  int64_t requests = 1;  // that began alike
  bool settled = false;  // made hot, or found not worth it, since its latest request

  // What making it hot may save: the tokens that each request would otherwise run.
  int64_t value() const { return requests * static_cast<int64_t>(tokens.size()); }
};

// Not thread safe.
class PrefixHistory {
 public:
  // Conversations below `min_value` stay as they are; those least recently asked about are forgotten past `max_size`.
  PrefixHistory(int64_t min_value, size_t max_size) : min_value_(min_value), max_size_(max_size) {}

  // A request has ended. It goes on with a conversation of the same tenant when it shares at least half of it from the
  // beginning: another question about a document, or the next turn of a chat.
  void Note(std::vector<TokenId> tokens, const std::string& tenant_salt);

  // The most valuable one that is not settled; null when there is none. Valid until the next call of Note.
  Conversation* Next();

  size_t size() const { return conversations_.size(); }

 private:
  const int64_t min_value_;
  const size_t max_size_;
  std::list<Conversation> conversations_;  // latest first
};

}  // namespace slimfill::engine
