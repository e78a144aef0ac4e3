#include "kvstore/api/checksummed_copy.h"

#include <algorithm>

#include "base/status.h"
#include "kvstore/api/checksum.h"
#include "kvstore/api/stream_copy.h"

#if defined(__x86_64__)
#include "xxh_x86dispatch.h"
#endif

namespace slimfill::kvstore {
namespace {

// Bytes that are hashed and then copied: more, and the store buffers run dry meanwhile; fewer, and the hash does not
// get up to speed. Measured: 4 KiB with the next ones fetched ahead copies as fast as memcpy does without a checksum.
constexpr size_t kPieceBytes = 4096;
constexpr size_t kLineBytes = 64;

void Prefetch(absl::Span<const std::byte> bytes) {
  for (size_t at = 0; at < bytes.size(); at += kLineBytes) __builtin_prefetch(bytes.data() + at);
}

}  // namespace

void ChecksummedCopy::Restart(const BlockKey& key, uint64_t offset) {
  XXH3_64bits_reset_withSeed(&state_, ChecksumSeed(key, offset));
}

void ChecksummedCopy::Append(absl::Span<const std::byte> from, absl::Span<std::byte> to) {
  SLIMFILL_CHECK(to.empty() || to.size() == from.size());
  const bool stream = to.size() >= kStreamFromBytes;
  for (size_t at = 0; at < from.size(); at += kPieceBytes) {
    const absl::Span<const std::byte> piece = from.subspan(at, kPieceBytes);
    Prefetch(from.subspan(std::min(from.size(), at + kPieceBytes), kPieceBytes));
    XXH3_64bits_update(&state_, piece.data(), piece.size());
    if (to.empty()) continue;
    if (stream) {
      StreamCopyUnfenced(piece, to.subspan(at, piece.size()));
    } else {
      std::copy(piece.begin(), piece.end(), to.begin() + static_cast<ptrdiff_t>(at));
    }
  }
}

uint64_t ChecksummedCopy::Digest() {
  StreamFence();
  return XXH3_64bits_digest(&state_);
}

void PagedWriter::Append(absl::Span<const std::byte> from, absl::Span<std::byte> to) {
  while (!from.empty()) {
    const size_t bytes = std::min<size_t>(from.size(), kChecksumPageBytes - written_ % kChecksumPageBytes);
    page_.Append(from.subspan(0, bytes), to.subspan(0, bytes));
    from.remove_prefix(bytes);
    to.remove_prefix(std::min(bytes, to.size()));
    written_ += bytes;
    if (written_ % kChecksumPageBytes != 0) continue;
    checksums_.push_back(page_.Digest());
    page_.Restart(key_, written_);
  }
}

std::vector<uint64_t> PagedWriter::Finish() {
  if (written_ % kChecksumPageBytes != 0) checksums_.push_back(page_.Digest());
  return std::move(checksums_);
}

bool CopyVerified(const BlockKey& key, absl::Span<const std::byte> value, absl::Span<const uint64_t> checksums,
                  uint64_t offset, absl::Span<std::byte> to) {
  for (const uint64_t checksum : checksums) {
    const uint64_t page_start = offset / kChecksumPageBytes * kChecksumPageBytes;
    const absl::Span<const std::byte> page = value.subspan(page_start, kChecksumPageBytes);
    const uint64_t skipped = offset - page_start, copied = std::min<uint64_t>(to.size(), page.size() - skipped);
    ChecksummedCopy copy(key, page_start);
    copy.Append(page.subspan(0, skipped), {});
    copy.Append(page.subspan(skipped, copied), to.subspan(0, copied));
    copy.Append(page.subspan(skipped + copied), {});
    if (copy.Digest() != checksum) return false;
    offset += copied;
    to.remove_prefix(copied);
  }
  return true;
}

}  // namespace slimfill::kvstore
