#include "kvstore/core/value.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvstore/api/block_key.h"
#include "kvstore/api/checksum.h"
#include "kvstore/api/checksummed_copy.h"

namespace slimfill::kvstore {

absl::Span<const std::byte> Value::Page(uint64_t page) const {
  return absl::Span<const std::byte>(buffer_.bytes()).subspan(page * kChecksumPageBytes, kChecksumPageBytes);
}

absl::Status Value::CheckRange(uint64_t offset, uint64_t length) const {
  if (offset <= size() && length <= size() - offset) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("range of ", length, " bytes at ", offset, " of a value of ", size(),
                                            " bytes: ask for bytes it has"));
}

bool Value::IsWholePages(uint64_t offset, uint64_t length) const {
  const uint64_t end = offset + length;
  return offset % kChecksumPageBytes == 0 && (end % kChecksumPageBytes == 0 || end == size());
}

absl::StatusOr<absl::Span<const std::byte>> Value::ReadUnverified(uint64_t offset, uint64_t length) const {
  SLIMFILL_RETURN_IF_ERROR(CheckRange(offset, length));
  return absl::Span<const std::byte>(buffer_.bytes()).subspan(offset, length);
}

absl::StatusOr<absl::Span<const std::byte>> Value::Read(uint64_t offset, uint64_t length) const {
  SLIMFILL_RETURN_IF_ERROR(CheckRange(offset, length));
  const PageRange pages = PagesOf(offset, length);
  for (uint64_t page = pages.first; page < pages.end; ++page) {
    if (Checksum(key_, page * kChecksumPageBytes, Page(page)) != checksums_[page]) return Changed();
  }
  return absl::Span<const std::byte>(buffer_.bytes()).subspan(offset, length);
}

absl::Status Value::CopyTo(uint64_t offset, absl::Span<std::byte> to) const {
  SLIMFILL_RETURN_IF_ERROR(CheckRange(offset, to.size()));
  const PageRange pages = PagesOf(offset, to.size());
  const absl::Span<const uint64_t> checksums = absl::MakeConstSpan(checksums_).subspan(pages.first, pages.size());
  return CopyVerified(key_, buffer_.bytes(), checksums, offset, to) ? absl::OkStatus() : Changed();
}

absl::Status Value::Changed() const {
  return absl::DataLossError(
      absl::StrCat("block ", ToHex(key_), " changed in memory: it is dropped, compute it again"));
}

}  // namespace slimfill::kvstore
