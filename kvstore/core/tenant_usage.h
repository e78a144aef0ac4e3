// How much of the store each tenant's shared blocks take, for a limit that keeps one tenant from displacing all others.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace slimfill::kvstore {

class TenantUsage;

// Bytes of a tenant's share, given back when destroyed. Move only; empty by default.
class TenantShare {
 public:
  TenantShare() = default;
  TenantShare(TenantShare&& other) noexcept { *this = std::move(other); }
  TenantShare& operator=(TenantShare&& other) noexcept;
  ~TenantShare();

 private:
  friend class TenantUsage;
  TenantShare(TenantUsage* usage, uint64_t tenant, uint64_t bytes) : usage_(usage), tenant_(tenant), bytes_(bytes) {}

  TenantUsage* usage_ = nullptr;
  uint64_t tenant_ = 0;
  uint64_t bytes_ = 0;
};

// Thread safe. Outlives its shares.
class TenantUsage {
 public:
  // `limit_bytes`: of each tenant.
  explicit TenantUsage(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // Nothing when the tenant would have more than the limit.
  std::optional<TenantShare> TryTake(uint64_t tenant, uint64_t bytes);
  uint64_t bytes_of(uint64_t tenant) const;

 private:
  friend class TenantShare;
  void GiveBack(uint64_t tenant, uint64_t bytes);

  const uint64_t limit_bytes_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<uint64_t, uint64_t> bytes_ ABSL_GUARDED_BY(mutex_);  // of tenants that have some
};

}  // namespace slimfill::kvstore
