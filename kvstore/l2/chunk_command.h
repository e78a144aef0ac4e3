// What is asked of Redis for one chunk of a block, and what came of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kvstore/l2/redis_connection.h"
#include "kvstore/l2/sealed_value.h"

namespace slimfill::kvstore {

enum class ChunkVerb { kPeek, kRead, kWrite };  // its header, all of it, or a new one in its place

struct ChunkCommand {
  ChunkVerb verb;
  size_t item = 0;  // of the caller's batch
  ChunkPlace place;
  absl::Span<std::byte> into;        // kRead: its payload
  absl::Span<const std::byte> from;  // kWrite: its payload

  // Where it goes next.
  std::shared_ptr<RedisNode> node;
  bool asking = false;  // the slot is on its way to that node
  int hops = 0;

  // What came of it.
  enum class Answer { kNone, kDone, kMoved, kAsk };
  Answer answer = Answer::kNone;
  absl::Status status;   // when done
  ChunkHeader header{};  // kPeek, kRead
  std::string moved_to;  // kMoved, kAsk: HOST:PORT, as Redis wrote it
};

// kv:{HASH}:CHUNK. The hash tag keeps the chunks of a block in one slot.
std::string ChunkName(const BlockKey& key, uint32_t chunk);

// A command's bytes, in pieces so that the payload is not copied.
struct EncodedCommand {
  std::string before;
  ChunkHeader header;
  bool has_header = false;
  absl::Span<const std::byte> payload;
  std::string after;
  std::vector<std::byte> sealed;  // what payload shows, when it is encrypted
};

void Encode(const ChunkCommand& command, const ValueSealer& sealer, absl::Duration ttl, EncodedCommand* encoded);

}  // namespace slimfill::kvstore
