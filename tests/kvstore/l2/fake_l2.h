// An L2 in this process that fails when told to, for tests of what stands before it.
#pragma once

#include <cstring>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "kvstore/l2/l2_store.h"

namespace slimfill::kvstore {

// Thread safe.
class FakeL2 final : public L2Store {
 public:
  struct Stored {
    BlockKey parent;
    std::vector<std::byte> value;
    uint64_t tenant = 0;
  };

  std::vector<absl::StatusOr<L2Entry>> Find(absl::Span<const BlockKey> keys, absl::Time) override {
    absl::MutexLock lock(&mutex_);
    WaitWhileHeld();
    finds_.push_back(keys.size());
    std::vector<absl::StatusOr<L2Entry>> entries;
    for (const BlockKey& key : keys) {
      const auto found = stored_.find(key);
      if (!failure_.ok()) {
        entries.push_back(failure_);
      } else if (found == stored_.end()) {
        entries.push_back(absl::NotFoundError("not there"));
      } else {
        entries.push_back(L2Entry{
            .bytes = found->second.value.size(), .parent = found->second.parent, .tenant = found->second.tenant});
      }
    }
    return entries;
  }

  std::vector<absl::Status> Get(absl::Span<const L2Read> items, absl::Time) override {
    absl::MutexLock lock(&mutex_);
    gets_.push_back(items.size());
    std::vector<absl::Status> statuses;
    for (const L2Read& item : items) {
      const auto unreadable = unreadable_.find(item.key);
      statuses.push_back(unreadable == unreadable_.end() ? failure_ : unreadable->second);
      if (!statuses.back().ok()) {
        std::memset(item.destination.data(), 0xDD, item.destination.size());
        continue;
      }
      const std::vector<std::byte>& value = stored_.at(item.key).value;
      std::memcpy(item.destination.data(), value.data(), value.size());
    }
    return statuses;
  }

  std::vector<absl::Status> Put(absl::Span<const L2Write> items, absl::Time) override {
    absl::MutexLock lock(&mutex_);
    WaitWhileHeld();
    std::vector<absl::Status> statuses(items.size(), failure_);
    puts_ += items.size();
    if (!failure_.ok()) return statuses;
    for (const L2Write& item : items) {
      stored_[item.key] = {item.parent, {item.value.begin(), item.value.end()}, item.tenant};
    }
    return statuses;
  }

  // Calls wait from now on until told otherwise.
  void Hold(bool held) {
    absl::MutexLock lock(&mutex_);
    held_ = held;
  }
  // Waits until a call waits.
  void AwaitCaller() {
    absl::MutexLock lock(&mutex_);
    auto waiting = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return waiting_ > 0; };
    mutex_.Await(absl::Condition(&waiting));
  }
  void Fail(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    failure_ = status;
  }
  void MakeUnreadable(const BlockKey& key, const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    unreadable_[key] = status;
  }
  void Store(const BlockKey& key, const BlockKey& parent, const std::vector<std::byte>& value) {
    absl::MutexLock lock(&mutex_);
    stored_[key] = {parent, value};
  }

  void Lose(const BlockKey& key) {
    absl::MutexLock lock(&mutex_);
    stored_.erase(key);
  }

  bool Has(const BlockKey& key) const {
    absl::MutexLock lock(&mutex_);
    return stored_.contains(key);
  }
  Stored At(const BlockKey& key) const {
    absl::MutexLock lock(&mutex_);
    return stored_.at(key);
  }
  size_t size() const {
    absl::MutexLock lock(&mutex_);
    return stored_.size();
  }
  size_t puts() const {  // blocks
    absl::MutexLock lock(&mutex_);
    return puts_;
  }
  std::vector<size_t> finds() const {  // keys of each call
    absl::MutexLock lock(&mutex_);
    return finds_;
  }
  std::vector<size_t> gets() const {
    absl::MutexLock lock(&mutex_);
    return gets_;
  }

 private:
  void WaitWhileHeld() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ++waiting_;
    auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !held_; };
    mutex_.Await(absl::Condition(&free));
    --waiting_;
  }

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<BlockKey, Stored> stored_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<BlockKey, absl::Status> unreadable_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t puts_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<size_t> finds_ ABSL_GUARDED_BY(mutex_), gets_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slimfill::kvstore
