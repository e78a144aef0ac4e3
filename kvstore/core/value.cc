#include "kvstore/core/value.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvstore/api/block_key.h"
#include "kvstore/api/checksum.h"

namespace slimfill::kvstore {

Value::Value(const BlockKey& key, Buffer buffer) : key_(key), buffer_(std::move(buffer)) {
  const uint64_t pages = (size() + kChecksumPageBytes - 1) / kChecksumPageBytes;
  checksums_.reserve(pages);
  for (uint64_t page = 0; page < pages; ++page) {
    checksums_.push_back(Checksum(key_, page * kChecksumPageBytes, Page(page)));
  }
}

absl::Span<const std::byte> Value::Page(uint64_t page) const {
  return absl::Span<const std::byte>(buffer_.bytes()).subspan(page * kChecksumPageBytes, kChecksumPageBytes);
}

absl::Status Value::CheckRange(uint64_t offset, uint64_t length) const {
  if (offset <= size() && length <= size() - offset) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("range of ", length, " bytes at ", offset, " of a value of ", size(),
                                            " bytes: ask for bytes it has"));
}

absl::StatusOr<absl::Span<const std::byte>> Value::Read(uint64_t offset, uint64_t length) const {
  SLIMFILL_RETURN_IF_ERROR(CheckRange(offset, length));
  const uint64_t end_page = (offset + length + kChecksumPageBytes - 1) / kChecksumPageBytes;
  for (uint64_t page = offset / kChecksumPageBytes; page < end_page; ++page) {
    if (Checksum(key_, page * kChecksumPageBytes, Page(page)) != checksums_[page]) {
      return absl::DataLossError(absl::StrCat("block ", ToHex(key_), " changed in memory (bytes from ",
                                              page * kChecksumPageBytes, "): it is dropped, compute it again"));
    }
  }
  return absl::Span<const std::byte>(buffer_.bytes()).subspan(offset, length);
}

}  // namespace slimfill::kvstore
