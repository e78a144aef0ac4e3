// Which node of a Redis Cluster holds which slots, as one of its nodes told us.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/listen_address.h"
#include "kvstore/l2/hash_slot.h"
#include "kvstore/l2/redis_connection.h"

struct redisReply;

namespace slimfill::kvstore {

struct SlotMap {
  static constexpr int16_t kNobody = -1;

  std::vector<ListenAddress> masters;
  std::vector<int16_t> owner = std::vector<int16_t>(kHashSlots, kNobody);  // index into masters
};

// One server that holds every slot.
SlotMap SingleServer(const ListenAddress& server);

// The address that Redis wrote as HOST:PORT (IPv6 without brackets); an empty or unknown host is `told_by`'s.
absl::StatusOr<ListenAddress> ParseNodeAddress(absl::string_view text, const ListenAddress& told_by);

// Reads the reply to CLUSTER SLOTS. UNAVAILABLE when it is none.
absl::StatusOr<SlotMap> ParseClusterSlots(const redisReply& reply, const ListenAddress& told_by);

// Asks `node` over a connection of its own. A server without cluster mode holds all slots.
absl::StatusOr<SlotMap> FetchSlotMap(RedisNode& node, absl::Time deadline);

}  // namespace slimfill::kvstore
