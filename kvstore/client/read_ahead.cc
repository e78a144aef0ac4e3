#include "kvstore/client/read_ahead.h"

#include <utility>

namespace slimfill::kvstore {

ReadAhead::~ReadAhead() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

bool ReadAhead::Next(grpc::ByteBuffer* message) {
  absl::MutexLock lock(&mutex_);
  const auto answered = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ended_ || !messages_.empty(); };
  mutex_.Await(absl::Condition(&answered));
  if (messages_.empty()) return false;
  message->Swap(&messages_.front());
  messages_.pop_front();
  return true;
}

void ReadAhead::Run() {
  grpc::ByteBuffer message;
  while (stream_.StartRead(&message), stream_.Wait()) {
    absl::MutexLock lock(&mutex_);
    const auto wanted = [this]()
                            ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || messages_.size() < kMessages; };
    mutex_.Await(absl::Condition(&wanted));
    if (stopping_) break;
    messages_.emplace_back().Swap(&message);
  }
  absl::MutexLock lock(&mutex_);
  ended_ = true;
}

}  // namespace slimfill::kvstore
