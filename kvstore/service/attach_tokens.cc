#include "kvstore/service/attach_tokens.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kvstore/api/block_key.h"

namespace slimfill::kvstore {

absl::StatusOr<AttachTokens::Grant> AttachTokens::Issue() {
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mutex_);
  absl::erase_if(open_, [now](const auto& entry) { return entry.second.expires <= now; });
  if (open_.size() >= kMaxOpen) {
    return absl::ResourceExhaustedError(absl::StrCat(open_.size(), " clients are about to attach, the limit is ",
                                                     kMaxOpen, ": try again in a few seconds"));
  }
  Grant grant;
  const BlockKey random = RandomKey();
  std::copy_n(random.bytes.begin(), grant.token.size(), grant.token.begin());
  while (grant.session == 0) grant.session = RandomNumber();
  open_[grant.token] = {grant.session, now + kLifetime};
  return grant;
}

std::optional<uint64_t> AttachTokens::Redeem(const Token& token) {
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mutex_);
  const auto found = open_.find(token);
  if (found == open_.end()) return std::nullopt;
  const Open open = found->second;
  open_.erase(found);
  if (open.expires <= now) return std::nullopt;
  return open.session;
}

}  // namespace slimfill::kvstore
