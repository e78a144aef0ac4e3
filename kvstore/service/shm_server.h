// The store's side of shared memory: a socket beside the gRPC one where attached clients of this machine ask where
// blocks lie. One thread per client; what a client holds ends with its connection.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "kvstore/core/local_store.h"
#include "kvstore/service/attach_tokens.h"
#include "kvstore/shm/mapped_region.h"
#include "kvstore/shm/socket.h"

namespace slimfill::kvstore {

// Thread safe.
class ShmServer {
 public:
  static constexpr size_t kMaxClients = 64;

  // Listens at `path` at once; errors as ShmListener::Listen. REQUIRES: the store has shared memory. `store`, `tokens`,
  // `clock` and `metrics` outlive the server.
  static absl::StatusOr<std::unique_ptr<ShmServer>> Start(const std::string& path, LocalKvStore& store,
                                                          AttachTokens& tokens, const Clock& clock, Metrics& metrics);
  ~ShmServer();  // hangs up on all clients

 private:
  struct Client {
    explicit Client(ShmSocket connected) : socket(std::move(connected)) {}
    ShmSocket socket;
    std::thread thread;
    bool done = false;  // guarded by ShmServer::mutex_
  };

  ShmServer(ShmListener listener, UniqueFd slab_file, LocalKvStore& store, AttachTokens& tokens, const Clock& clock,
            Metrics& metrics);

  void AcceptClients();
  void Admit(ShmSocket socket);
  // Joins the threads of clients that are gone; returns how many are left.
  size_t CollectFinished();
  void Serve(Client& client);

  const UniqueFd slab_file_;  // for reading
  LocalKvStore& store_;
  AttachTokens& tokens_;
  const Clock& clock_;
  Metrics& metrics_;
  ShmListener listener_;

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<Client> clients_ ABSL_GUARDED_BY(mutex_);
  std::thread accepting_;  // last: it uses the others
};

}  // namespace slimfill::kvstore
