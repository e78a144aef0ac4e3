#include "kvstore/client/fetch_assembler.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill::kvstore {
namespace {

constexpr int kMaxStatusCode = static_cast<int>(absl::StatusCode::kUnauthenticated);

template <typename... Parts>
absl::Status BrokenStream(const Parts&... parts) {
  return absl::DataLossError(absl::StrCat("the KV store's stream is broken: ", parts...));
}

}  // namespace

absl::Status FetchAssembler::AcceptFailure(uint64_t ordinal, int code, absl::string_view message) {
  if (ordinal >= items_.size() || settled_[ordinal].has_value() || (received_ > 0 && ordinal == chunk_.ordinal)) {
    return BrokenStream("a failure of item ", ordinal, " of ", items_.size(), " has no place");
  }
  if (code <= 0 || code > kMaxStatusCode) return BrokenStream("item ", ordinal, " failed with code ", code);
  Settle(ordinal, absl::Status(static_cast<absl::StatusCode>(code), message));
  return absl::OkStatus();
}

absl::Status FetchAssembler::BeginChunk(const ChunkFields& chunk) {
  const uint64_t ordinal = chunk.ordinal;
  if (ordinal >= items_.size() || settled_[ordinal].has_value() || (received_ > 0 && ordinal != chunk_.ordinal)) {
    return BrokenStream("a chunk of item ", ordinal, " of ", items_.size(), " has no place");
  }
  const FetchItem& item = items_[ordinal];
  const uint64_t missing = item.destination.size() - received_;
  if (chunk.bytes == 0 || chunk.bytes > missing || chunk.offset != item.offset + received_) {
    return BrokenStream(chunk.bytes, " bytes at ", chunk.offset, " of item ", ordinal, ", of which ", missing,
                        " bytes from ", item.offset + received_, " are missing");
  }
  chunk_ = chunk;
  copy_.Restart(item.key, chunk.offset);
  return absl::OkStatus();
}

void FetchAssembler::AppendBytes(absl::Span<const std::byte> bytes) {
  copy_.Append(bytes, OpenItem().destination.subspan(received_, bytes.size()));
  received_ += bytes.size();
}

void FetchAssembler::EndChunk() {
  SLIMFILL_CHECK(received_ == chunk_.offset - OpenItem().offset + chunk_.bytes);
  corrupt_ = copy_.Digest() != chunk_.checksum || corrupt_;
  if (received_ < OpenItem().destination.size()) return;
  if (corrupt_) {
    ++corrupt_items_;
    Settle(chunk_.ordinal,
           absl::DataLossError("the block's bytes changed on their way from the KV store: compute it again"));
  } else {
    received_bytes_ += received_;
    Settle(chunk_.ordinal, absl::OkStatus());
  }
  received_ = 0;
  corrupt_ = false;
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
