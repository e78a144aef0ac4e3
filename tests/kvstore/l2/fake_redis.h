// A server that speaks Redis' protocol and answers what a test tells it to.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/listen_address.h"

namespace slimfill::kvstore {

class FakeRedis {
 public:
  using Words = std::vector<std::string>;
  // The bytes to answer a command with; called by one thread for each connection.
  using Script = std::function<std::string(const Words&)>;

  explicit FakeRedis(Script script);
  ~FakeRedis();
  FakeRedis(const FakeRedis&) = delete;
  FakeRedis& operator=(const FakeRedis&) = delete;

  // Sends answers in pieces of this size.
  void set_piece_bytes(size_t bytes) { piece_bytes_ = bytes; }

  ListenAddress address() const { return {.host = "127.0.0.1", .port = port_, .loopback = true}; }
  std::string name() const;  // HOST:PORT, as Redis writes it

  // What it was asked, words joined by spaces, without CLUSTER SLOTS.
  std::vector<std::string> commands() const;

 private:
  void Accept();
  void Serve(int connection);

  const Script script_;
  std::atomic<size_t> piece_bytes_{1 << 20};
  int listener_;
  uint16_t port_ = 0;
  mutable absl::Mutex mutex_;
  std::vector<std::string> commands_ ABSL_GUARDED_BY(mutex_);
  std::vector<int> connections_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
  std::thread acceptor_;
};

// Replies.
std::string BulkReply(const std::string& bytes);
// To CLUSTER SLOTS: all slots are `owner`'s.
std::string AllSlotsOf(const ListenAddress& owner);

}  // namespace slimfill::kvstore
