// One attached client: answers its messages. Knows no socket, so that every message can be tried without one.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "kvstore/core/local_store.h"
#include "kvstore/shm/mapped_region.h"
#include "kvstore/shm/protocol.h"

namespace slimfill::kvstore {

// Not thread safe.
class ShmSession {
 public:
  // `window`: the client's memory, which it may change at any moment. `store`, `clock` and `metrics` outlive this.
  ShmSession(LocalKvStore& store, MappedRegion window, const Clock& clock, Metrics& metrics)
      : store_(store), window_(std::move(window)), clock_(clock), metrics_(metrics) {}

  // The answer to a request; INVALID_ARGUMENT for what is none: hang up.
  absl::StatusOr<shm::Bytes> Answer(absl::Span<const std::byte> message);

 private:
  shm::Located Locate(const shm::Locate& request);
  absl::StatusOr<shm::PutDone> Put(const shm::Put& request);
  absl::Status PutOne(const shm::Put::Item& item, LeaseId lease);

  LocalKvStore& store_;
  const MappedRegion window_;
  const Clock& clock_;
  Metrics& metrics_;
};

}  // namespace slimfill::kvstore
