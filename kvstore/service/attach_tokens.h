// Tokens of Attach: each opens the shared memory's socket once, and soon, for whoever could make the call.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace slimfill::kvstore {

// Thread safe.
class AttachTokens {
 public:
  using Token = std::array<uint8_t, 16>;
  struct Grant {
    Token token;
    uint64_t session = 0;  // random, never 0
  };
  static constexpr size_t kMaxOpen = 64;
  static constexpr absl::Duration kLifetime = absl::Seconds(10);

  explicit AttachTokens(const Clock& clock) : clock_(clock) {}  // outlives this

  // RESOURCE_EXHAUSTED when too many tokens wait to be used.
  absl::StatusOr<Grant> Issue();
  // The token's session; nothing when it is unknown, used or too old.
  std::optional<uint64_t> Redeem(const Token& token);

 private:
  struct Open {
    uint64_t session;
    absl::Time expires;
  };

  const Clock& clock_;
  absl::Mutex mutex_;
  absl::flat_hash_map<Token, Open> open_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slimfill::kvstore
