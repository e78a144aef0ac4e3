#include "kvstore/core/removal_feed.h"

#include <algorithm>
#include <utility>

namespace slimfill::kvstore {

std::unique_ptr<RemovalFeed::Subscription> RemovalFeed::Subscribe() {
  std::unique_ptr<Subscription> subscription(new Subscription(*this));
  absl::MutexLock lock(&mutex_);
  subscriptions_.insert(subscription.get());
  listeners_ = subscriptions_.size();
  return subscription;
}

RemovalFeed::Subscription::~Subscription() {
  absl::MutexLock lock(&feed_.mutex_);
  feed_.subscriptions_.erase(this);
  feed_.listeners_ = feed_.subscriptions_.size();
}

RemovalFeed::Removals RemovalFeed::Subscription::Take(size_t max_keys) {
  absl::MutexLock lock(&feed_.mutex_);
  const auto end = keys_.begin() + static_cast<ptrdiff_t>(std::min(max_keys, keys_.size()));
  Removals taken{.keys = std::vector<BlockKey>(keys_.begin(), end)};
  keys_.erase(keys_.begin(), end);
  if (keys_.empty()) taken.unnamed = std::exchange(unnamed_, 0);
  return taken;
}

void RemovalFeed::PublishToAll(const BlockKey& key) {
  absl::MutexLock lock(&mutex_);
  for (Subscription* subscription : subscriptions_) {
    // Once keys are left out, those that follow are too, until the listener has caught up: so it knows where the gap
    // is.
    if (subscription->unnamed_ > 0 || subscription->keys_.size() == max_pending_) {
      ++subscription->unnamed_;
    } else {
      subscription->keys_.push_back(key);
    }
  }
  news_ = true;
}

bool RemovalFeed::AwaitNews() {
  absl::MutexLock lock(&mutex_);
  auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return news_ || closed_; };
  mutex_.Await(absl::Condition(&ready));
  news_ = false;
  return !closed_;
}

void RemovalFeed::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

}  // namespace slimfill::kvstore
