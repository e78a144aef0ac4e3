#include "kvstore/l2/reply_reader.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill::kvstore {
namespace {

constexpr int kReadsAtOnce = 4;  // then further commands are sent, and other connections get their turn

absl::Status NoReply(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat("the server's reply ", what, ": is it Redis?"));
}

}  // namespace

absl::StatusOr<bool> ReplyReader::ReadFrom(RedisSocket& socket, ReplyHandler& handler) {
  for (int reads = 0; reads < kReadsAtOnce; ++reads) {
    if (!handler.ExpectsReply()) return false;
    const std::array<iovec, 3> room = Room();
    const size_t first = room[0].iov_len > 0 ? 0 : (room[1].iov_len > 0 ? 1 : 2);
    SLIMFILL_ASSIGN_OR_RETURN(const size_t bytes, socket.Read(absl::MakeConstSpan(room).subspan(first)));
    if (bytes == 0) return false;
    Arrived(bytes);
    while (handler.ExpectsReply()) {
      SLIMFILL_ASSIGN_OR_RETURN(const bool went_on, Step(handler));
      if (!went_on) break;
    }
  }
  return true;
}

std::array<iovec, 3> ReplyReader::Room() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  return {iovec{place_.head.data(), place_.head.size()}, iovec{place_.body.data(), place_.body.size()},
          iovec{buffer_.data() + end_, kBufferBytes - end_}};
}

void ReplyReader::Arrived(size_t bytes) {
  for (absl::Span<std::byte>* part : {&place_.head, &place_.body}) {
    const size_t of_part = std::min(bytes, part->size());
    part->remove_prefix(of_part);
    bytes -= of_part;
  }
  end_ += bytes;
}

absl::StatusOr<bool> ReplyReader::Step(ReplyHandler& handler) {
  if (state_ == State::kLine) return ParseLine(handler);
  if (state_ == State::kString) {
    MoveBufferedString();
    if (!place_.head.empty() || !place_.body.empty() || skip_ > 0) return false;
    state_ = State::kStringEnd;
  }
  if (end_ - begin_ < 2) return false;
  if (buffer_[begin_] != '\r' || buffer_[begin_ + 1] != '\n') return NoReply("has a string of the wrong length");
  begin_ += 2;
  state_ = State::kLine;
  handler.OnString(placed_);
  return true;
}

void ReplyReader::MoveBufferedString() {
  for (absl::Span<std::byte>* part : {&place_.head, &place_.body}) {
    const size_t bytes = std::min(end_ - begin_, part->size());
    if (bytes == 0) continue;
    std::memcpy(part->data(), buffer_.data() + begin_, bytes);
    part->remove_prefix(bytes);
    begin_ += bytes;
  }
  const size_t skipped = std::min<uint64_t>(end_ - begin_, skip_);
  begin_ += skipped;
  skip_ -= skipped;
}

absl::StatusOr<bool> ReplyReader::ParseLine(ReplyHandler& handler) {
  const absl::string_view unparsed(buffer_.data() + begin_, end_ - begin_);
  const size_t length = unparsed.find("\r\n");
  if (length == absl::string_view::npos) {
    if (unparsed.size() == kBufferBytes) return NoReply("begins with a line that is too long");
    return false;
  }
  if (length == 0) return NoReply("is empty");
  begin_ += length + 2;
  const absl::string_view text = unparsed.substr(1, length - 1);
  switch (unparsed[0]) {
    case '$':
      SLIMFILL_RETURN_IF_ERROR(BeginString(text, handler));
      return true;
    case '+':
    case ':':
      handler.OnLine(text);
      return true;
    case '-':
      handler.OnError(text);
      return true;
    default:
      return NoReply("is of a kind that was not asked for");
  }
}

absl::Status ReplyReader::BeginString(absl::string_view length, ReplyHandler& handler) {
  if (length == "-1") {
    handler.OnNil();
    return absl::OkStatus();
  }
  uint64_t bytes;
  if (!absl::SimpleAtoi(length, &bytes)) return NoReply("has a string without a length");
  const std::optional<ReplyHandler::Place> place = handler.PlaceString(bytes);
  placed_ = place.has_value();
  if (placed_) {
    SLIMFILL_CHECK(place->head.size() + place->body.size() == bytes);
    place_ = *place;
  } else if (bytes > kMaxSkipBytes) {
    return NoReply("has a string that is too long to be thrown away");
  } else {
    skip_ = bytes;
  }
  state_ = State::kString;
  return absl::OkStatus();
}

}  // namespace slimfill::kvstore
