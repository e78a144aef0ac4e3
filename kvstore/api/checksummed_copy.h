// Copies bytes and computes their checksum in one pass: the checksum is taken from the caches while the copy fills the
// memory's bandwidth, so that it costs next to nothing.
#pragma once

#define XXH_STATIC_LINKING_ONLY  // the hash's state lies in the object, not on the heap

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kvstore/api/checksum.h"
#include "kvstore/api/kv_store.h"
#include "xxhash.h"

namespace slimfill::kvstore {

// Not thread safe. What was copied may be read by other threads after Digest.
class ChecksummedCopy {
 public:
  // Of bytes that start at `offset` of the value of `key`, as in Checksum.
  ChecksummedCopy(const BlockKey& key, uint64_t offset) {
    XXH3_INITSTATE(&state_);  // restarting compares the seed with the one before
    Restart(key, offset);
  }
  void Restart(const BlockKey& key, uint64_t offset);

  // The next bytes; to.size() == from.size(), or 0 for bytes that are not copied.
  void Append(absl::Span<const std::byte> from, absl::Span<std::byte> to);

  // Checksum of all bytes since the start.
  uint64_t Digest();

 private:
  XXH3_state_t state_;
};

// Writes a value piece by piece and keeps the checksums of its pages of kChecksumPageBytes.
class PagedWriter {
 public:
  explicit PagedWriter(const BlockKey& key) : key_(key), page_(key, 0) {}

  // `to`: as long, and behind what was written before; or empty when the bytes lie there already.
  void Append(absl::Span<const std::byte> from, absl::Span<std::byte> to);
  uint64_t written() const { return written_; }
  // Of the page that was written last, or of what it has so far.
  uint64_t LastPageDigest() { return written_ % kChecksumPageBytes == 0 ? checksums_.back() : page_.Digest(); }
  // Of all pages; nothing may be appended any more.
  std::vector<uint64_t> Finish();

 private:
  BlockKey key_;
  ChecksummedCopy page_;
  uint64_t written_ = 0;
  std::vector<uint64_t> checksums_;
};

// Copies `to.size()` bytes from `offset` of the value of `key` on. False when a page that they touch does not have its
// checksum; `to` is undefined then. `checksums`: of the touched pages, from the first on.
bool CopyVerified(const BlockKey& key, absl::Span<const std::byte> value, absl::Span<const uint64_t> checksums,
                  uint64_t offset, absl::Span<std::byte> to);

}  // namespace slimfill::kvstore
