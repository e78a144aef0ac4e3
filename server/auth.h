// Who is calling: bearer tokens from a file, or a client certificate. The identity salts the KV store's keys, so that
// tenants never see each other's prefixes.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"

namespace slimfill::server {

// Thread safe.
class Authenticator {
 public:
  // `tokens_file`: lines tenant:sha256-of-the-token-in-hex, # starts a comment; "" accepts everyone. Read again when it
  // changes; a change that cannot be read is logged and the last good one stays.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Create(const std::string& tokens_file, const Clock& clock);

  // The caller's tenant, from its `authorization` metadata ("Bearer TOKEN", empty when absent) and the identity in its
  // verified client certificate (empty when there is none). UNAUTHENTICATED when tokens are required and this is none.
  absl::StatusOr<std::string> Authenticate(absl::string_view authorization, absl::string_view certificate_identity);

 private:
  using Digest = std::array<unsigned char, 32>;
  struct Entry {
    std::string tenant;
    Digest digest;
  };
  Authenticator(std::string tokens_file, const Clock& clock) : file_(std::move(tokens_file)), clock_(clock) {}
  static absl::StatusOr<std::vector<Entry>> Parse(absl::string_view text);
  absl::Status Load() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReloadIfChanged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string file_;
  const Clock& clock_;
  absl::Mutex mutex_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::string loaded_text_ ABSL_GUARDED_BY(mutex_);
  absl::Time next_look_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace slimfill::server
