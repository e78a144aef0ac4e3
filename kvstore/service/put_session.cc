#include "kvstore/service/put_session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvstore/service/call_status.h"

namespace slimfill::kvstore {
absl::Status PutSession::Accept(const PutMessage& message) {
  if (std::exchange(first_message_, false)) lease_ = message.head().lease();
  for (const v1::PutBlock& block : message.head().blocks()) SLIMFILL_RETURN_IF_ERROR(Announce(block));
  for (const PutMessage::Chunk& chunk : message.chunks()) {
    SLIMFILL_RETURN_IF_ERROR(AcceptChunk(chunk.fields, message.DataOf(chunk)));
  }
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

absl::Status PutSession::CheckPlace(const ChunkFields& chunk) const {
  const size_t open = statuses_.size();
  if (chunk.ordinal != open || open >= blocks_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("chunk of block ", chunk.ordinal, ", but block ", open, " of ",
                                                   blocks_.size(), " announced ones is next: send blocks in order"));
  }
  if (chunk.offset != received_) {
    return absl::InvalidArgumentError(absl::StrCat("chunk at offset ", chunk.offset, " of block ", open, ", but ",
                                                   received_, " bytes of it have come: send chunks in order"));
  }
  const uint64_t missing = blocks_[open].bytes - received_;
  if (chunk.bytes == 0 || chunk.bytes > missing) {
    return absl::InvalidArgumentError(absl::StrCat("chunk of ", chunk.bytes, " bytes for block ", open, ", of which ",
                                                   missing, " are missing: send 1 to that many"));
  }
  return absl::OkStatus();
}

absl::Status PutSession::AcceptChunk(const ChunkFields& chunk, Pieces data) {
  SLIMFILL_RETURN_IF_ERROR(CheckPlace(chunk));
  const Block& block = blocks_[statuses_.size()];
  Store(block, chunk, data);
  received_ += chunk.bytes;
  if (received_ < block.bytes) return absl::OkStatus();
  if (pending_.has_value()) failure_ = store_.Publish(*std::move(pending_));
  if (failure_.ok()) stored_bytes_ += block.bytes;
  statuses_.push_back(std::exchange(failure_, absl::OkStatus()));
  pending_.reset();
  received_ = 0;
  return absl::OkStatus();
}

void PutSession::Store(const Block& block, const ChunkFields& chunk, Pieces data) {
  if (received_ == 0) {
    absl::StatusOr<PendingValue> reserved = store_.Reserve(block, lease_);
    if (reserved.ok()) {
      pending_.emplace(*std::move(reserved));
    } else if (!absl::IsAlreadyExists(reserved.status())) {
      failure_ = reserved.status();
    }
  }
  if (!pending_.has_value()) return;
  failure_ = pending_->AppendVerified(data, chunk.checksum);
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
