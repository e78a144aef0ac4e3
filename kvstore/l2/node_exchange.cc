#include "kvstore/l2/node_exchange.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/status.h"

namespace slimfill::kvstore {
namespace {

// Commands under way on a connection. Redis copies a reply as soon as it has read the command, so that many large ones
// would fill its memory and fall out of its caches before they are sent; too few leave it idle.
constexpr size_t kReadsUnderWay = 12;
constexpr size_t kWritesUnderWay = 4;
constexpr size_t kPeeksUnderWay = 256;
constexpr size_t kMaxParts = 64;

size_t UnderWay(ChunkVerb verb) {
  switch (verb) {
    case ChunkVerb::kPeek:
      return kPeeksUnderWay;
    case ChunkVerb::kRead:
      return kReadsUnderWay;
    case ChunkVerb::kWrite:
      break;
  }
  return kWritesUnderWay;
}

std::array<absl::Span<const std::byte>, 4> PartsOf(const EncodedCommand& command) {
  const auto bytes = [](const std::string& text) {
    return absl::MakeConstSpan(reinterpret_cast<const std::byte*>(text.data()), text.size());
  };
  return {bytes(command.before), absl::MakeConstSpan(command.header).first(command.has_header ? kChunkHeaderBytes : 0),
          command.payload, bytes(command.after)};
}

size_t SizeOf(const EncodedCommand& command) {
  size_t size = 0;
  for (const absl::Span<const std::byte> part : PartsOf(command)) size += part.size();
  return size;
}

}  // namespace

NodeExchange::NodeExchange(std::unique_ptr<RedisConnection> connection, std::vector<ChunkCommand*> commands,
                           const ExchangeSettings& settings)
    : connection_(std::move(connection)), commands_(std::move(commands)), settings_(settings) {
  SLIMFILL_CHECK(!commands_.empty());
  if (!connection_->greeting.empty()) {
    greeting_replies_ = 1;
    outgoing_.emplace_back().before = std::exchange(connection_->greeting, "");
  }
  asking_reply_ = commands_.front()->asking;
}

// Half of the commands under way are answered before others follow, in one go: the server is woken less often and is
// never without work.
bool NodeExchange::HasRoom() const {
  return next_ < commands_.size() && 2 * (next_ - answered_) <= UnderWay(commands_[next_]->verb);
}

void NodeExchange::FillOutgoing() {
  if (!HasRoom()) return;
  while (next_ < commands_.size() && next_ - answered_ < UnderWay(commands_[next_]->verb)) {
    if (spare_.empty()) spare_.emplace_back();
    outgoing_.push_back(std::move(spare_.back()));
    spare_.pop_back();
    Encode(*commands_[next_++], settings_.sealer, settings_.ttl, &outgoing_.back());
  }
}

absl::Status NodeExchange::Write() {
  while (true) {
    FillOutgoing();
    if (outgoing_.empty()) return absl::OkStatus();
    std::array<iovec, kMaxParts> parts;
    size_t count = 0, skip = sent_of_first_;
    for (const EncodedCommand& command : outgoing_) {
      for (absl::Span<const std::byte> part : PartsOf(command)) {
        const size_t skipped = std::min(skip, part.size());
        skip -= skipped;
        part.remove_prefix(skipped);
        if (part.empty() || count == kMaxParts) continue;
        parts[count++] = {const_cast<std::byte*>(part.data()), part.size()};
      }
    }
    SLIMFILL_ASSIGN_OR_RETURN(const size_t bytes, connection_->socket->Write(absl::MakeConstSpan(parts.data(), count)));
    if (bytes == 0) return absl::OkStatus();
    Sent(bytes);
  }
}

void NodeExchange::Sent(size_t bytes) {
  sent_of_first_ += bytes;
  while (!outgoing_.empty() && sent_of_first_ >= SizeOf(outgoing_.front())) {
    sent_of_first_ -= SizeOf(outgoing_.front());
    spare_.push_back(std::move(outgoing_.front()));
    outgoing_.pop_front();
  }
}

void NodeExchange::Progress() {
  absl::Status status = Write();
  if (status.ok()) {
    const absl::StatusOr<bool> more = connection_->reader.ReadFrom(*connection_->socket, *this);
    status = more.status();
    eager_ = more.ok() && *more;
  }
  if (status.ok() && HasRoom()) status = Write();  // in the place of those that were answered
  if (!status.ok()) Fail(status);
}

void NodeExchange::Fail(const absl::Status& status) {
  if (failure_.ok()) failure_ = status;
  for (; answered_ < commands_.size(); ++answered_) {
    current().answer = ChunkCommand::Answer::kDone;
    current().status = status;
  }
}

bool NodeExchange::TakeExtraReply() {
  if (greeting_replies_ > 0) {
    --greeting_replies_;
    return true;
  }
  return std::exchange(asking_reply_, false);
}

std::optional<ReplyHandler::Place> NodeExchange::PlaceString(uint64_t bytes) {
  ChunkCommand& command = current();
  if (extra_replies() || command.verb == ChunkVerb::kWrite) return std::nullopt;
  if (bytes != kChunkHeaderBytes + command.into.size()) return std::nullopt;
  return Place{absl::MakeSpan(command.header), command.into};
}

void NodeExchange::OnString(bool placed) {
  if (TakeExtraReply()) return;
  ChunkCommand& command = current();
  if (command.verb == ChunkVerb::kPeek) {
    // GETRANGE of a key that is not there is an empty string.
    Answer(placed ? absl::OkStatus() : absl::NotFoundError("the L2 has no such block"));
  } else if (!placed) {
    Answer(absl::DataLossError("the L2 has a string of another size in the place of a chunk: it counts as a miss"));
  } else {
    Answer(settings_.sealer.Open(command.place, command.header, command.into));
  }
}

void NodeExchange::OnNil() {
  if (!TakeExtraReply()) Answer(absl::NotFoundError("the L2 has lost a part of the block"));
}

void NodeExchange::OnLine(absl::string_view text) {
  if (TakeExtraReply()) return;
  Answer(current().verb == ChunkVerb::kWrite ? absl::OkStatus()
                                             : absl::UnknownError(absl::StrCat("Redis says: ", text)));
}

void NodeExchange::OnError(absl::string_view text) {
  if (greeting_replies_ > 0) {
    Fail(absl::PermissionDeniedError(absl::StrCat("Redis says: ", text)));
  } else if (std::exchange(asking_reply_, false)) {
    return;  // the command itself will be told what is wrong
  } else if (absl::ConsumePrefix(&text, "MOVED ")) {
    Redirect(ChunkCommand::Answer::kMoved, text);
  } else if (absl::ConsumePrefix(&text, "ASK ")) {
    Redirect(ChunkCommand::Answer::kAsk, text);
  } else {
    Answer(ErrorOf(text));
  }
}

void NodeExchange::Redirect(ChunkCommand::Answer answer, absl::string_view text) {
  // "SLOT HOST:PORT"
  current().answer = answer;
  current().moved_to = std::string(text.substr(std::min(text.size(), text.find(' ') + 1)));
  NextCommand();
}

void NodeExchange::Answer(const absl::Status& status) {
  current().answer = ChunkCommand::Answer::kDone;
  current().status = status;
  NextCommand();
}

void NodeExchange::NextCommand() {
  ++answered_;
  asking_reply_ = answered_ < commands_.size() && current().asking;
}

void RunExchanges(absl::Span<NodeExchange* const> exchanges, absl::Time deadline) {
  std::vector<NodeExchange*> running;
  std::vector<pollfd> waits;
  while (true) {
    bool eager = false;
    running.clear();
    waits.clear();
    for (NodeExchange* exchange : exchanges) {
      if (exchange->done()) continue;
      running.push_back(exchange);
      eager |= exchange->eager();
      waits.push_back({.fd = exchange->fd(), .events = exchange->PollEvents(), .revents = 0});
    }
    if (running.empty()) return;
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) break;
    const int64_t milliseconds = std::clamp<int64_t>(absl::ToInt64Milliseconds(left) + 1, 1, 60000);
    if (!eager || running.size() > 1) poll(waits.data(), waits.size(), eager ? 0 : static_cast<int>(milliseconds));
    for (size_t i = 0; i < running.size(); ++i) {
      if (waits[i].revents != 0 || running[i]->eager()) running[i]->Progress();
    }
  }
  for (NodeExchange* exchange : running) {
    exchange->Fail(absl::DeadlineExceededError("the L2 did not answer in time: it counts as a miss"));
  }
}

}  // namespace slimfill::kvstore
