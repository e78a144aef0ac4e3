#include "kvstore/l2/promoter.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/metric_names.h"

namespace slimfill::kvstore {
namespace {

// The first look-up is small, so that a chain that the L2 does not know costs next to nothing.
constexpr size_t kFirstLookUp = 16;
constexpr size_t kMaxLookUp = 1024;

}  // namespace

Promoter::Promoter(LocalKvStore& store, L2Store& l2, const PromoterOptions& options, const Clock& clock,
                   Metrics* metrics)
    : store_(store), l2_(l2), options_(options), clock_(clock), metrics_(metrics) {}

int64_t Promoter::Promote(absl::Span<const BlockKey> keys, absl::Time deadline) {
  const std::vector<Arrival> found = FindFront(keys, deadline);
  size_t done = 0;
  while (done < found.size() && clock_.Now() < deadline) {
    size_t end = done;
    for (uint64_t bytes = 0; end < found.size() && bytes < options_.batch_bytes; ++end) bytes += found[end].entry.bytes;
    const size_t copied = Copy(absl::MakeConstSpan(found).subspan(done, end - done), deadline);
    done += copied;
    if (done < end) break;
  }
  if (metrics_ != nullptr) {
    metrics_->Add(metric::kKvL2Hits, {}, static_cast<double>(done));
    metrics_->Add(metric::kKvL2Misses, {}, static_cast<double>(keys.size() - done));
  }
  return static_cast<int64_t>(done);
}

std::vector<Promoter::Arrival> Promoter::FindFront(absl::Span<const BlockKey> keys, absl::Time deadline) {
  std::vector<Arrival> found;
  const uint64_t max_bytes = std::min(options_.max_bytes, store_.options().memory_bytes / 2);
  uint64_t bytes = 0;
  for (size_t look_up = kFirstLookUp; found.size() < keys.size(); look_up = std::min(4 * look_up, kMaxLookUp)) {
    const absl::Span<const BlockKey> next = keys.subspan(found.size(), look_up);
    const std::vector<absl::StatusOr<L2Entry>> entries = l2_.Find(next, deadline);
    for (size_t i = 0; i < next.size(); ++i) {
      if (!entries[i].ok()) return found;
      if (entries[i]->bytes > store_.options().limits.max_value_bytes) return found;
      bytes += entries[i]->bytes;
      if (bytes > max_bytes) return found;
      found.push_back({next[i], *entries[i]});
    }
  }
  return found;
}

size_t Promoter::Copy(absl::Span<const Arrival> batch, absl::Time deadline) {
  // Room for each block; none for one that another caller has stored meanwhile.
  std::vector<std::optional<PendingValue>> pending;
  std::vector<L2Read> reads;
  for (const Arrival& arrival : batch) {
    const L2Entry& entry = arrival.entry;
    absl::StatusOr<PendingValue> room = store_.Reserve({.key = arrival.key,
                                                        .parent = entry.parent,
                                                        .bytes = entry.bytes,
                                                        .tenant = entry.tenant,
                                                        .parent_is_coming = true},
                                                       /*lease=*/0);
    if (!room.ok() && !absl::IsAlreadyExists(room.status())) break;
    pending.emplace_back();
    if (!room.ok()) continue;
    reads.push_back({arrival.key, arrival.entry, room->Unwritten()});
    pending.back() = *std::move(room);
  }
  const std::vector<absl::Status> statuses = l2_.Get(reads, deadline);
  // Front to back, so that each hangs on its parent; behind a gap nothing could be matched.
  size_t read = 0, done = 0;
  for (std::optional<PendingValue>& value : pending) {
    if (value.has_value()) {
      if (!statuses[read++].ok()) break;
      value->MarkWritten(value->size());
      if (!store_.Publish(*std::move(value)).ok()) break;
    }
    ++done;
  }
  return done;
}

}  // namespace slimfill::kvstore
