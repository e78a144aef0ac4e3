#include "kvstore/service/put_session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvstore/api/checksum.h"
#include "kvstore/service/call_status.h"

namespace slimfill::kvstore {
namespace {

absl::Span<const std::byte> DataOf(const v1::Chunk& chunk) {
  return absl::MakeConstSpan(reinterpret_cast<const std::byte*>(chunk.data().data()), chunk.data().size());
}

}  // namespace

absl::Status PutSession::Accept(const v1::PutRequest& request) {
  if (std::exchange(first_message_, false)) lease_ = request.lease();
  for (const v1::PutBlock& block : request.blocks()) SLIMFILL_RETURN_IF_ERROR(Announce(block));
  for (const v1::Chunk& chunk : request.chunks()) SLIMFILL_RETURN_IF_ERROR(AcceptChunk(chunk));
  return absl::OkStatus();
}

absl::Status PutSession::Announce(const v1::PutBlock& announced) {
  SLIMFILL_RETURN_IF_ERROR(budget_.AddItem(announced.total_bytes()));
  Block block{.bytes = announced.total_bytes(), .tenant = announced.tenant()};
  SLIMFILL_ASSIGN_OR_RETURN(block.key, ParseKey(announced.key(), "PutBlock.key"));
  if (!announced.parent().empty()) {
    SLIMFILL_ASSIGN_OR_RETURN(block.parent, ParseKey(announced.parent(), "PutBlock.parent"));
  }
  blocks_.push_back(block);
  return absl::OkStatus();
}

absl::Status PutSession::CheckPlace(const v1::Chunk& chunk) const {
  const size_t open = statuses_.size();
  if (chunk.ordinal() != open || open >= blocks_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("chunk of block ", chunk.ordinal(), ", but block ", open, " of ",
                                                   blocks_.size(), " announced ones is next: send blocks in order"));
  }
  if (chunk.offset() != received_) {
    return absl::InvalidArgumentError(absl::StrCat("chunk at offset ", chunk.offset(), " of block ", open, ", but ",
                                                   received_, " bytes of it have come: send chunks in order"));
  }
  const uint64_t missing = blocks_[open].bytes - received_;
  if (chunk.data().empty() || chunk.data().size() > missing) {
    return absl::InvalidArgumentError(absl::StrCat("chunk of ", chunk.data().size(), " bytes for block ", open,
                                                   ", of which ", missing, " are missing: send 1 to that many"));
  }
  return absl::OkStatus();
}

absl::Status PutSession::AcceptChunk(const v1::Chunk& chunk) {
  SLIMFILL_RETURN_IF_ERROR(CheckPlace(chunk));
  const Block& block = blocks_[statuses_.size()];
  Store(block, chunk);
  received_ += chunk.data().size();
  if (received_ < block.bytes) return absl::OkStatus();
  if (pending_.has_value()) failure_ = store_.Publish(*std::move(pending_));
  if (failure_.ok()) stored_bytes_ += block.bytes;
  statuses_.push_back(std::exchange(failure_, absl::OkStatus()));
  pending_.reset();
  received_ = 0;
  return absl::OkStatus();
}

void PutSession::Store(const Block& block, const v1::Chunk& chunk) {
  if (received_ == 0) {
    absl::StatusOr<PendingValue> reserved = store_.Reserve(block, lease_);
    if (reserved.ok()) {
      pending_.emplace(*std::move(reserved));
    } else if (!absl::IsAlreadyExists(reserved.status())) {
      failure_ = reserved.status();
    }
  }
  if (!pending_.has_value()) return;
  if (Checksum(block.key, chunk.offset(), DataOf(chunk)) != chunk.checksum()) {
    failure_ = absl::DataLossError(absl::StrCat("the checksum of the bytes from ", chunk.offset(), " of block ",
                                                chunk.ordinal(), " does not hold: send the block again"));
  } else {
    failure_ = pending_->Append(DataOf(chunk));
  }
  if (!failure_.ok()) pending_.reset();
}

void PutSession::Finish(v1::PutResponse* response) {
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const absl::Status status =
        i < statuses_.size()
            ? statuses_[i]
            : absl::DataLossError(absl::StrCat("the stream ended after ", i == statuses_.size() ? received_ : 0, " of ",
                                               blocks_[i].bytes, " bytes: send the block again"));
    *response->add_statuses() = MakeItemStatus(static_cast<uint32_t>(i), status);
  }
}

}  // namespace slimfill::kvstore
