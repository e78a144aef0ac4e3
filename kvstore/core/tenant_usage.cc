#include "kvstore/core/tenant_usage.h"

namespace slimfill::kvstore {

TenantShare& TenantShare::operator=(TenantShare&& other) noexcept {
  if (this == &other) return *this;
  if (usage_ != nullptr) usage_->GiveBack(tenant_, bytes_);
  usage_ = std::exchange(other.usage_, nullptr);
  tenant_ = other.tenant_;
  bytes_ = other.bytes_;
  return *this;
}

TenantShare::~TenantShare() {
  if (usage_ != nullptr) usage_->GiveBack(tenant_, bytes_);
}

std::optional<TenantShare> TenantUsage::TryTake(uint64_t tenant, uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  const auto found = bytes_.find(tenant);
  const uint64_t used = found == bytes_.end() ? 0 : found->second;
  if (bytes > limit_bytes_ - used) return std::nullopt;
  bytes_[tenant] = used + bytes;
  return TenantShare(this, tenant, bytes);
}

uint64_t TenantUsage::bytes_of(uint64_t tenant) const {
  absl::MutexLock lock(&mutex_);
  const auto found = bytes_.find(tenant);
  return found == bytes_.end() ? 0 : found->second;
}

void TenantUsage::GiveBack(uint64_t tenant, uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  const auto found = bytes_.find(tenant);
  found->second -= bytes;
  if (found->second == 0) bytes_.erase(found);
}

}  // namespace slimfill::kvstore
