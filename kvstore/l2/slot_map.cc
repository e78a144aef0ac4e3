#include "kvstore/l2/slot_map.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "hiredis/hiredis.h"

namespace slimfill::kvstore {
namespace {

constexpr size_t kMaxMasters = 1000;  // of a Redis Cluster

struct ReplyDeleter {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, ReplyDeleter>;

absl::Status Malformed(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat("the reply to CLUSTER SLOTS ", what));
}

absl::string_view TextOf(const redisReply& reply) { return {reply.str, static_cast<size_t>(reply.len)}; }

absl::Status WaitFor(const RedisSocket& socket, bool writing, absl::Time deadline) {
  const absl::Duration left = deadline - absl::Now();
  pollfd wait{.fd = socket.fd(), .events = socket.PollEvents(writing), .revents = 0};
  if (left > absl::ZeroDuration() && poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1) > 0) {
    return absl::OkStatus();
  }
  return absl::DeadlineExceededError("the node did not answer in time");
}

absl::Status Send(RedisSocket& socket, absl::string_view bytes, absl::Time deadline) {
  while (!bytes.empty()) {
    const iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    SLIMFILL_ASSIGN_OR_RETURN(const size_t sent, socket.Write({&part, 1}));
    bytes.remove_prefix(sent);
    if (sent == 0) SLIMFILL_RETURN_IF_ERROR(WaitFor(socket, /*writing=*/true, deadline));
  }
  return absl::OkStatus();
}

// The last of `count` replies; an error reply before it is the result.
absl::StatusOr<Reply> Receive(RedisSocket& socket, int count, absl::Time deadline) {
  const std::unique_ptr<redisReader, decltype(&redisReaderFree)> reader(redisReaderCreate(), redisReaderFree);
  if (reader == nullptr) return absl::UnavailableError("no memory for a reply");
  std::array<char, 4096> buffer;
  while (true) {
    void* got = nullptr;
    if (redisReaderGetReply(reader.get(), &got) != REDIS_OK) return Malformed(reader->errstr);
    Reply reply(static_cast<redisReply*>(got));
    if (reply != nullptr) {
      if (--count == 0 || reply->type == REDIS_REPLY_ERROR) return reply;
      continue;
    }
    const iovec room{buffer.data(), buffer.size()};
    SLIMFILL_ASSIGN_OR_RETURN(const size_t bytes, socket.Read({&room, 1}));
    if (bytes == 0) SLIMFILL_RETURN_IF_ERROR(WaitFor(socket, /*writing=*/false, deadline));
    redisReaderFeed(reader.get(), buffer.data(), bytes);
  }
}

bool HasNoClusterMode(absl::string_view error) {
  return absl::StrContains(error, "cluster support disabled") || absl::StartsWith(error, "ERR unknown command");
}

// [first slot, last slot, [host, port, ...], replicas...]
absl::Status AddRange(const redisReply& range, const ListenAddress& told_by, SlotMap* map) {
  if (range.type != REDIS_REPLY_ARRAY || range.elements < 3) return Malformed("has a range without a node");
  const redisReply &first = *range.element[0], &last = *range.element[1], &node = *range.element[2];
  if (first.type != REDIS_REPLY_INTEGER || last.type != REDIS_REPLY_INTEGER || first.integer < 0 ||
      last.integer < first.integer || last.integer >= kHashSlots) {
    return Malformed("has a range of impossible slots");
  }
  if (node.type != REDIS_REPLY_ARRAY || node.elements < 2 || node.element[1]->type != REDIS_REPLY_INTEGER) {
    return Malformed("has a node without a port");
  }
  const redisReply& host = *node.element[0];
  const absl::string_view name = host.type == REDIS_REPLY_STRING ? TextOf(host) : absl::string_view();
  SLIMFILL_ASSIGN_OR_RETURN(const ListenAddress address,
                            ParseNodeAddress(absl::StrCat(name, ":", node.element[1]->integer), told_by));
  const auto same = [&](const ListenAddress& other) {
    return FormatListenAddress(other) == FormatListenAddress(address);
  };
  const auto found = std::find_if(map->masters.begin(), map->masters.end(), same);
  const auto index = static_cast<int16_t>(found - map->masters.begin());
  if (found == map->masters.end()) {
    if (map->masters.size() == kMaxMasters) return Malformed("names more nodes than a cluster has");
    map->masters.push_back(address);
  }
  std::fill(map->owner.begin() + first.integer, map->owner.begin() + last.integer + 1, index);
  return absl::OkStatus();
}

}  // namespace

SlotMap SingleServer(const ListenAddress& server) {
  return {.masters = {server}, .owner = std::vector<int16_t>(kHashSlots, 0)};
}

absl::StatusOr<ListenAddress> ParseNodeAddress(absl::string_view text, const ListenAddress& told_by) {
  const size_t colon = text.rfind(':');
  const absl::string_view host = text.substr(0, colon == absl::string_view::npos ? 0 : colon);
  uint32_t port;
  if (colon == absl::string_view::npos || !absl::SimpleAtoi(text.substr(colon + 1), &port) || port == 0 ||
      port > 65535) {
    return absl::UnavailableError(absl::StrCat("Redis names a node '", text, "', which is no HOST:PORT"));
  }
  ListenAddress address{.host = std::string(host), .port = static_cast<uint16_t>(port)};
  if (host.empty() || host == "?") address.host = told_by.unix_path.empty() ? told_by.host : "127.0.0.1";
  return address;
}

absl::StatusOr<SlotMap> ParseClusterSlots(const redisReply& reply, const ListenAddress& told_by) {
  if (reply.type != REDIS_REPLY_ARRAY) return Malformed("is no list");
  SlotMap map;
  for (size_t i = 0; i < reply.elements; ++i) SLIMFILL_RETURN_IF_ERROR(AddRange(*reply.element[i], told_by, &map));
  if (map.masters.empty()) return Malformed("names no node: has the cluster been set up?");
  return map;
}

absl::StatusOr<SlotMap> FetchSlotMap(RedisNode& node, absl::Time deadline) {
  SLIMFILL_ASSIGN_OR_RETURN(const std::unique_ptr<RedisConnection> connection, node.Take());
  const int replies = connection->greeting.empty() ? 1 : 2;
  SLIMFILL_RETURN_IF_ERROR(
      Send(*connection->socket, connection->greeting + FormatCommand({"CLUSTER", "SLOTS"}), deadline));
  SLIMFILL_ASSIGN_OR_RETURN(const Reply reply, Receive(*connection->socket, replies, deadline));
  if (reply->type != REDIS_REPLY_ERROR) return ParseClusterSlots(*reply, node.address());
  if (HasNoClusterMode(TextOf(*reply))) return SingleServer(node.address());
  return ErrorOf(TextOf(*reply));
}

}  // namespace slimfill::kvstore
