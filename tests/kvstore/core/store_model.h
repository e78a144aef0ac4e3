// What LocalKvStore should do, in the simplest form: maps, and a walk over everything to find the next victim. It
// follows the contracts in kvstore/api/kv_store.h and kvstore/core/local_store.h, one caller at a time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::kvstore {

// Blocks are named by small ids; 0 is "no parent".
class StoreModel {
 public:
  struct Value {
    uint32_t seed = 0;
    size_t size = 0;
    bool corrupt = false;
  };
  using Name = std::pair<LeaseId, uint32_t>;  // owner (0: shared) and id

  // `tenant_bytes`: the most that a tenant's shared blocks may take; 0: all.
  StoreModel(uint64_t memory_bytes, uint64_t tenant_bytes, absl::Duration ttl)
      : memory_bytes_(memory_bytes), tenant_bytes_(tenant_bytes), ttl_(ttl) {}

  void AdvanceTo(absl::Time now);

  int64_t MatchedBlocks(const std::vector<uint32_t>& ids) const;
  void OpenPrefix(LeaseId lease, const std::vector<uint32_t>& ids, int64_t blocks);
  void OpenPrivate(LeaseId lease);
  absl::StatusCode Renew(LeaseId lease);
  void Release(LeaseId lease);

  absl::StatusCode Put(uint32_t id, uint32_t parent, uint64_t tenant, Value value, LeaseId lease);
  // The value that a fetch finds; it counts as a use. A fetch that meets corruption drops the block.
  std::optional<Value> Fetch(uint32_t id, LeaseId lease);
  void Corrupt(uint32_t id, LeaseId lease);
  absl::StatusCode Delete(uint32_t id);

  bool IsLeased(uint32_t id) const;                     // a live lease covers the shared block
  std::optional<uint32_t> ParentOf(uint32_t id) const;  // of a present shared block that hangs on its parent
  bool IsPresent(const Name& name) const { return entries_.count(name) != 0; }
  uint64_t bytes_used() const;
  uint64_t bytes_of(uint64_t tenant) const;  // of its shared blocks
  size_t blocks() const { return entries_.size(); }
  size_t leases() const { return leases_.size(); }
  const StoreStats& counters() const { return counters_; }

 private:
  struct Entry {
    Value value;
    uint64_t life = 0;                                    // tells lives of one name apart
    uint64_t used = 0;                                    // when it was last used
    uint64_t tenant = 0;                                  // of a shared block
    std::optional<std::pair<uint32_t, uint64_t>> parent;  // id and life
  };
  struct Lease {
    bool is_private = false;
    absl::Time expires;
    std::vector<std::pair<uint32_t, uint64_t>> pins;  // id and life
  };

  bool InUse(uint32_t id) const;
  bool EvictOne(uint64_t tenant);  // 0: any
  void End(LeaseId lease);

  const uint64_t memory_bytes_;
  const uint64_t tenant_bytes_;
  const absl::Duration ttl_;
  absl::Time now_ = absl::UnixEpoch();
  uint64_t ticks_ = 0;
  std::map<Name, Entry> entries_;
  std::map<LeaseId, Lease> leases_;
  StoreStats counters_;
};

}  // namespace slimfill::kvstore
