#include "kvstore/service/watch_hub.h"

#include <string>

namespace slimfill::kvstore {

// Deletes itself when gRPC has let go of it.
class WatchHub::Reactor final : public grpc::ServerWriteReactor<v1::WatchResponse> {
 public:
  explicit Reactor(WatchHub& hub) : hub_(hub), removals_(hub.feed_.Subscribe()) {}

  // Sends what has left the store, unless a message is under way already.
  void SendNext() {
    {
      absl::MutexLock lock(&mutex_);
      if (writing_ || ended_) return;
      const RemovalFeed::Removals removals = removals_->Take(kMaxKeysPerMessage);
      if (removals.empty()) return;
      message_.Clear();
      for (const BlockKey& key : removals.keys) message_.add_removed(key.bytes.data(), key.bytes.size());
      message_.set_unnamed(removals.unnamed);
      writing_ = true;
    }
    StartWrite(&message_);
  }

  // Ends the call now, or when the message under way has gone.
  void End(const grpc::Status& status) {
    {
      absl::MutexLock lock(&mutex_);
      if (ended_) return;
      ended_ = true;
      last_status_ = status;
      if (writing_) return;
    }
    Finish(status);
  }

  void OnWriteDone(bool ok) override {
    bool ended;
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      ended = ended_;
    }
    if (ended) {
      Finish(last_status_);
    } else if (ok) {
      SendNext();
    } else {
      End(grpc::Status::CANCELLED);
    }
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override {
    {
      absl::MutexLock lock(&hub_.mutex_);
      hub_.reactors_.erase(this);
    }
    delete this;
  }

 private:
  WatchHub& hub_;
  const std::unique_ptr<RemovalFeed::Subscription> removals_;
  absl::Mutex mutex_;
  v1::WatchResponse message_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::Status last_status_;  // constant once ended_
};

WatchHub::WatchHub(RemovalFeed& feed) : feed_(feed), pump_([this] { Pump(); }) {}

WatchHub::~WatchHub() {
  Stop();
  feed_.Close();
  pump_.join();
}

grpc::ServerWriteReactor<v1::WatchResponse>* WatchHub::Open() {
  auto* reactor = new Reactor(*this);
  absl::MutexLock lock(&mutex_);
  if (stopped_) {
    reactor->End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the KV store is stopping"));
  } else if (reactors_.size() >= kMaxWatchers) {
    reactor->End(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED,
                              "too many Watch calls are open: the limit is " + std::to_string(kMaxWatchers)));
  } else {
    reactors_.insert(reactor);
  }
  return reactor;
}

void WatchHub::Stop() {
  absl::MutexLock lock(&mutex_);
  stopped_ = true;
  for (Reactor* reactor : reactors_) {
    reactor->End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the KV store is stopping"));
  }
}

void WatchHub::Pump() {
  while (feed_.AwaitNews()) {
    absl::MutexLock lock(&mutex_);
    for (Reactor* reactor : reactors_) reactor->SendNext();
  }
}

}  // namespace slimfill::kvstore
