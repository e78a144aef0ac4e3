#include "kvstore/client/fetch_assembler.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvstore/api/checksum.h"
#include "kvstore/api/stream_copy.h"

namespace slimfill::kvstore {
namespace {

constexpr int kMaxStatusCode = static_cast<int>(absl::StatusCode::kUnauthenticated);

template <typename... Parts>
absl::Status BrokenStream(const Parts&... parts) {
  return absl::DataLossError(absl::StrCat("the KV store's stream is broken: ", parts...));
}

}  // namespace

absl::Status FetchAssembler::Accept(const v1::FetchResponse& response) {
  for (const v1::Chunk& chunk : response.chunks()) SLIMFILL_RETURN_IF_ERROR(AcceptChunk(chunk));
  for (const v1::ItemStatus& failure : response.failures()) SLIMFILL_RETURN_IF_ERROR(AcceptFailure(failure));
  return absl::OkStatus();
}

absl::Status FetchAssembler::AcceptFailure(const v1::ItemStatus& failure) {
  const size_t ordinal = failure.ordinal();
  if (ordinal >= items_.size() || settled_[ordinal].has_value() || (received_ > 0 && ordinal == open_)) {
    return BrokenStream("a failure of item ", ordinal, " of ", items_.size(), " has no place");
  }
  if (failure.code() <= 0 || failure.code() > kMaxStatusCode) {
    return BrokenStream("item ", ordinal, " failed with code ", failure.code());
  }
  Settle(ordinal, absl::Status(static_cast<absl::StatusCode>(failure.code()), failure.message()));
  return absl::OkStatus();
}

absl::Status FetchAssembler::AcceptChunk(const v1::Chunk& chunk) {
  const size_t ordinal = chunk.ordinal();
  if (ordinal >= items_.size() || settled_[ordinal].has_value() || (received_ > 0 && ordinal != open_)) {
    return BrokenStream("a chunk of item ", ordinal, " of ", items_.size(), " has no place");
  }
  open_ = ordinal;
  const FetchItem& item = items_[ordinal];
  const absl::Span<const std::byte> data =
      absl::MakeConstSpan(reinterpret_cast<const std::byte*>(chunk.data().data()), chunk.data().size());
  const uint64_t missing = item.destination.size() - received_;
  if (data.empty() || data.size() > missing || chunk.offset() != item.offset + received_) {
    return BrokenStream(data.size(), " bytes at ", chunk.offset(), " of item ", ordinal, ", of which ", missing,
                        " bytes from ", item.offset + received_, " are missing");
  }
  corrupt_ = corrupt_ || Checksum(item.key, chunk.offset(), data) != chunk.checksum();
  if (!corrupt_) Keep(item, data);
  received_ += data.size();
  if (received_ < item.destination.size()) return absl::OkStatus();
  if (corrupt_) {
    ++corrupt_items_;
    Settle(ordinal, absl::DataLossError("the block's bytes changed on their way from the KV store: compute it again"));
  } else {
    received_bytes_ += received_;
    Settle(ordinal, absl::OkStatus());
  }
  received_ = 0;
  corrupt_ = false;
  return absl::OkStatus();
}

void FetchAssembler::Keep(const FetchItem& item, absl::Span<const std::byte> data) {
  if (data.size() == item.destination.size()) {
    StreamCopy(data, item.destination);
    return;
  }
  if (received_ == 0) staging_.resize(item.destination.size());
  std::memcpy(staging_.data() + received_, data.data(), data.size());
  if (received_ + data.size() == item.destination.size()) {
    StreamCopy(staging_, item.destination);
  }
}

void FetchAssembler::Settle(size_t ordinal, absl::Status status) {
  settled_[ordinal] = std::move(status);
  ++settled_items_;
}

absl::Status FetchAssembler::CheckComplete() const {
  if (settled_items_ < items_.size()) {
    return BrokenStream("it ended after ", settled_items_, " of ", items_.size(), " items");
  }
  if (corrupt_items_ > 0) return BrokenStream(corrupt_items_, " items came with wrong bytes");
  return absl::OkStatus();
}

std::vector<absl::Status> FetchAssembler::Finish(const absl::Status& rest) const {
  std::vector<absl::Status> statuses;
  statuses.reserve(items_.size());
  for (const std::optional<absl::Status>& status : settled_) statuses.push_back(status.value_or(rest));
  return statuses;
}

}  // namespace slimfill::kvstore
