// Reads blocks out of the memory of a KV store on this machine, and puts blocks there by memory both can reach. The
// socket carries only where the bytes are (kvstore/shm/protocol.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kvstore/api/kv_store.h"
#include "kvstore/shm/mapped_region.h"
#include "kvstore/shm/protocol.h"
#include "kvstore/shm/socket.h"

namespace slimfill::kvstore {

// Thread safe.
class ShmConnection {
 public:
  // No answer: the item did not go by shared memory and may go by another way.
  using ItemStatuses = std::vector<std::optional<absl::Status>>;

  // `token`: from the store's Attach. PERMISSION_DENIED when the store refuses it.
  static absl::StatusOr<std::unique_ptr<ShmConnection>> Open(const std::string& socket_path, const std::string& token,
                                                             uint64_t window_bytes, absl::Time deadline);

  // Whether it is of no more use: the store is gone, or an answer did not come in time and would come too late.
  bool broken() const { return broken_.load(std::memory_order_relaxed); }

  // Where values lie, without a copy.
  absl::StatusOr<shm::Located> Locate(const shm::Locate& request, absl::Time deadline);

  // An item without an answer lies outside the shared memory, has changed there, or was replaced during the copy.
  absl::StatusOr<ItemStatuses> Fetch(absl::Span<const FetchItem> items, LeaseId lease, absl::Time deadline);

  // An item without an answer is larger than the window.
  absl::StatusOr<ItemStatuses> Put(absl::Span<const PutItem> items, LeaseId lease, absl::Time deadline);

 private:
  ShmConnection(ShmSocket socket, shm::Welcome slab, MappedRegion memory, MappedRegion window)
      : slab_(slab), memory_(std::move(memory)), socket_(std::move(socket)), window_(std::move(window)) {}

  // The socket and the window serve one thread at a time, from a request to its answer; blocks are copied out of the
  // slab by all at once.
  class Turn;

  // Sends a request and reads its answer by `parse` (bytes -> StatusOr). The connection counts as broken until that has
  // succeeded. REQUIRES: this thread's turn.
  template <typename Parse>
  auto Exchange(const shm::Bytes& request, absl::Time deadline, const Parse& parse)
      -> decltype(parse(absl::Span<const std::byte>()));
  // False when the memory may have been used again before what was just copied had been.
  bool StillThere(const shm::Located::Item& place) const;
  // Puts as many items as fit into the window, from the first on; none when the first does not. One code per item.
  absl::StatusOr<shm::PutDone> PutWindow(absl::Span<const PutItem> items, LeaseId lease, absl::Time deadline);
  // Copies these items into the window and describes them. REQUIRES: this thread's turn.
  shm::Put FillWindow(absl::Span<const PutItem> items, LeaseId lease);

  const shm::Welcome slab_;
  const MappedRegion memory_;

  absl::Mutex mutex_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;  // it is some thread's turn
  ShmSocket socket_;
  MappedRegion window_;
  std::atomic<bool> broken_{false};
};

}  // namespace slimfill::kvstore
