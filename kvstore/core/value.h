// A stored value: bytes that no longer change, with a checksum per page so that a range is verified without reading the
// rest. Shared by the index and by whoever is copying out: eviction drops the index's share, never memory in use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kvstore/api/checksum.h"
#include "kvstore/api/kv_store.h"
#include "kvstore/core/arena.h"

namespace slimfill::kvstore {

class Value {
 public:
  // Takes the filled buffer of `key` and the checksums of its pages (PagedWriter).
  Value(const BlockKey& key, Buffer buffer, std::vector<uint64_t> checksums)
      : key_(key), buffer_(std::move(buffer)), checksums_(std::move(checksums)) {}

  uint64_t size() const { return buffer_.bytes().size(); }
  // Of each page of kChecksumPageBytes; the last one may be shorter.
  absl::Span<const uint64_t> checksums() const { return checksums_; }
  // Buffer::place.
  std::optional<SharedPlace> place() const { return buffer_.place(); }

  // OUT_OF_RANGE when the value has no such bytes.
  absl::Status CheckRange(uint64_t offset, uint64_t length) const;

  // Whether the range consists of whole pages: then checksums() tell whether its bytes are sound.
  bool IsWholePages(uint64_t offset, uint64_t length) const;

  // The range's bytes, once the pages that it touches have been verified. OUT_OF_RANGE; DATA_LOSS on a mismatch.
  absl::StatusOr<absl::Span<const std::byte>> Read(uint64_t offset, uint64_t length) const;
  // Not verified: for those who compare with checksums() themselves. OUT_OF_RANGE.
  absl::StatusOr<absl::Span<const std::byte>> ReadUnverified(uint64_t offset, uint64_t length) const;
  // As Read, copied as it is verified; `to` is undefined when the status is not OK.
  absl::Status CopyTo(uint64_t offset, absl::Span<std::byte> to) const;

 private:
  absl::Span<const std::byte> Page(uint64_t page) const;
  absl::Status Changed() const;

  const BlockKey key_;
  const Buffer buffer_;
  const std::vector<uint64_t> checksums_;  // one per page
};

}  // namespace slimfill::kvstore
