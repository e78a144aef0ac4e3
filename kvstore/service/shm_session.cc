#include "kvstore/service/shm_session.h"

#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvstore/api/checksum.h"
#include "kvstore/api/transfer_metrics.h"

namespace slimfill::kvstore {

absl::StatusOr<shm::Bytes> ShmSession::Answer(absl::Span<const std::byte> message) {
  SLIMFILL_ASSIGN_OR_RETURN(const shm::Request kind, shm::KindOf(message));
  if (kind == shm::Request::kLocate) {
    SLIMFILL_ASSIGN_OR_RETURN(const shm::Locate request, shm::ParseLocate(message));
    return shm::Encode(Locate(request));
  }
  SLIMFILL_ASSIGN_OR_RETURN(const shm::Put request, shm::ParsePut(message));
  SLIMFILL_ASSIGN_OR_RETURN(const shm::PutDone done, Put(request));
  return shm::Encode(done);
}

shm::Located ShmSession::Locate(const shm::Locate& request) {
  const absl::Time start = clock_.Now();
  shm::Located located;
  located.items.reserve(request.items.size());
  uint64_t bytes = 0;
  std::vector<LocalKvStore::Range> ranges;
  ranges.reserve(request.items.size());
  for (const shm::Locate::Item& item : request.items) ranges.push_back({item.key, item.offset, item.length});
  const auto values = store_.Locate(ranges, request.lease);
  for (size_t i = 0; i < values.size(); ++i) {
    const LocalKvStore::Range& asked = ranges[i];
    const absl::StatusOr<std::shared_ptr<const Value>>& value = values[i];
    shm::Located::Item& item = located.items.emplace_back();
    const std::optional<SharedPlace> place = value.ok() ? (*value)->place() : std::nullopt;
    if (!place.has_value()) {
      item.code = static_cast<uint32_t>(value.ok() ? absl::StatusCode::kUnimplemented : value.status().code());
      continue;
    }
    item.offset = place->offset;
    item.page = place->page;
    item.generation = place->generation;
    item.value_bytes = (*value)->size();
    const PageRange pages = PagesOf(asked.offset, asked.length);
    const absl::Span<const uint64_t> checksums = (*value)->checksums().subspan(pages.first, pages.size());
    located.checksums.insert(located.checksums.end(), checksums.begin(), checksums.end());
    bytes += asked.length;
  }
  RecordTransfer(&metrics_, "fetch", "shm", bytes, clock_.Now() - start);
  return located;
}

absl::StatusOr<shm::PutDone> ShmSession::Put(const shm::Put& request) {
  const absl::Time start = clock_.Now();
  const uint64_t window_bytes = window_.bytes().size();
  shm::PutDone done;
  uint64_t bytes = 0;
  for (const shm::Put::Item& item : request.items) {
    if (item.offset > window_bytes || item.length > window_bytes - item.offset) {
      return absl::InvalidArgumentError(
          absl::StrCat("a block of ", item.length, " bytes at ", item.offset, " of a window of ", window_bytes));
    }
    const absl::Status status = PutOne(item, request.lease);
    if (status.ok()) bytes += item.length;
    done.codes.push_back(static_cast<uint32_t>(status.code()));
  }
  RecordTransfer(&metrics_, "put", "shm", bytes, clock_.Now() - start);
  return done;
}

absl::Status ShmSession::PutOne(const shm::Put::Item& item, LeaseId lease) {
  return store_.PutOne({item.key, item.parent, {window_.bytes().subspan(item.offset, item.length)}, item.tenant},
                       lease);
}

}  // namespace slimfill::kvstore
