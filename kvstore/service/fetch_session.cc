#include "kvstore/service/fetch_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvstore/api/checksum.h"
#include "kvstore/api/limits.h"
#include "kvstore/service/call_status.h"

namespace slimfill::kvstore {
namespace {

constexpr uint64_t kFailureBytes = 256;  // a failure's share of a message: its text and fields

// Of a piece, which ends with its page of the value at the latest: a whole page's need not be computed again.
uint64_t ChecksumOf(const BlockKey& key, const Value& value, uint64_t offset, absl::Span<const std::byte> bytes) {
  return value.IsWholePages(offset, bytes.size()) ? value.checksums()[offset / kChecksumPageBytes]
                                                  : Checksum(key, offset, bytes);
}

}  // namespace

absl::StatusOr<FetchSession> FetchSession::Create(LocalKvStore& store, const v1::FetchRequest& request) {
  const uint32_t message_bytes = request.max_message_bytes() == 0 ? kDefaultMessageBytes : request.max_message_bytes();
  if (message_bytes < kMinMessageBytes || message_bytes > kMaxMessageBytes) {
    return absl::InvalidArgumentError(absl::StrCat("max_message_bytes is ", message_bytes, ", the limits are ",
                                                   kMinMessageBytes, " and ", kMaxMessageBytes,
                                                   ": choose a value between them, or 0"));
  }
  CallBudget budget("Fetch", store.options().limits);
  std::vector<LocalKvStore::Range> ranges;
  for (const v1::FetchRange& asked : request.ranges()) {
    SLIMFILL_RETURN_IF_ERROR(budget.AddItem(asked.length()));
    SLIMFILL_ASSIGN_OR_RETURN(const BlockKey key, ParseKey(asked.key(), "FetchRange.key"));
    ranges.push_back({key, asked.offset(), asked.length()});
  }
  return FetchSession(store, request, message_bytes, std::move(ranges));
}

uint64_t FetchSession::NextPieceBytes() const {
  const uint64_t offset = ranges_[next_].offset + sent_;
  return std::min<uint64_t>(current_.bytes.size() - sent_, kChecksumPageBytes - offset % kChecksumPageBytes);
}

bool FetchSession::Next(FetchMessage* message) {
  *message = {};
  uint64_t room = message_bytes_;
  while (next_ < ranges_.size() && room > 0) {
    if (current_.value == nullptr) {
      const LocalKvStore::Range& range = ranges_[next_];
      absl::StatusOr<ValueRange> found =
          store_->Read(range.key, range.offset, range.length, lease_, receiver_verifies_);
      if (!found.ok()) {
        *message->failures.add_failures() = MakeItemStatus(static_cast<uint32_t>(next_), found.status());
        ++next_;
        room -= std::min(room, kFailureBytes);
        continue;
      }
      current_ = *std::move(found);
      sent_ = 0;
      // A range that does not fit any more starts the next message, unless it is longer than any message.
      if (room < message_bytes_ && range.length > room && range.length <= message_bytes_) break;
    }
    // Where the receiver verifies, no page is cut: its parts would leave with checksums of what nobody has verified.
    if (receiver_verifies_ && room < NextPieceBytes()) break;
    room -= AddPiece(room, message);
  }
  return !message->empty();
}

uint64_t FetchSession::AddPiece(uint64_t room, FetchMessage* message) {
  const LocalKvStore::Range& range = ranges_[next_];
  const uint64_t offset = range.offset + sent_;
  const absl::Span<const std::byte> bytes = current_.bytes.subspan(sent_, std::min(room, NextPieceBytes()));
  message->pieces.push_back({.ordinal = static_cast<uint32_t>(next_),
                             .offset = offset,
                             .checksum = ChecksumOf(range.key, *current_.value, offset, bytes),
                             .range = {current_.value, bytes}});
  sent_ += bytes.size();
  sent_bytes_ += bytes.size();
  if (sent_ == current_.bytes.size()) {
    current_ = {};
    ++next_;
  }
  return bytes.size();
}

}  // namespace slimfill::kvstore
