#include "kvstore/client/put_messages.h"

#include <algorithm>

#include "kvstore/api/checksum.h"
#include "kvstore/api/limits.h"

namespace slimfill::kvstore {
namespace {

void SetKey(const BlockKey& key, std::string* field) {
  field->assign(reinterpret_cast<const char*>(key.bytes.data()), key.bytes.size());
}

}  // namespace

bool PutMessages::Next(v1::PutRequest* request) {
  request->Clear();
  if (item_ == items_.size()) return false;
  request->set_lease(lease_);
  uint64_t room = message_bytes_;
  while (item_ < items_.size() && room > 0) {
    const PutItem& item = items_[item_];
    const uint64_t bytes = ValueBytes(item);
    if (sent_ == 0) {
      // A value that does not fit any more starts the next message, unless it is longer than any message.
      if (room < message_bytes_ && bytes > room && bytes <= message_bytes_) break;
      Announce(item, bytes, request);
    }
    room -= AddChunk(item, std::min(room, bytes - sent_), request);
    if (sent_ < bytes) continue;
    ++item_;
    sent_ = part_ = part_sent_ = 0;
  }
  return true;
}

void PutMessages::Announce(const PutItem& item, uint64_t bytes, v1::PutRequest* request) {
  v1::PutBlock* block = request->add_blocks();
  SetKey(item.key, block->mutable_key());
  if (item.parent != BlockKey{}) SetKey(item.parent, block->mutable_parent());
  block->set_total_bytes(bytes);
  block->set_tenant(item.tenant);
}

uint64_t PutMessages::AddChunk(const PutItem& item, uint64_t bytes, v1::PutRequest* request) {
  v1::Chunk* chunk = request->add_chunks();
  Gather(item, bytes, chunk->mutable_data());
  chunk->set_ordinal(static_cast<uint32_t>(item_));
  chunk->set_offset(sent_);
  chunk->set_checksum(
      Checksum(item.key, sent_,
               absl::MakeConstSpan(reinterpret_cast<const std::byte*>(chunk->data().data()), chunk->data().size())));
  sent_ += bytes;
  return bytes;
}

void PutMessages::Gather(const PutItem& item, uint64_t bytes, std::string* data) {
  data->reserve(bytes);
  while (data->size() < bytes) {
    const absl::Span<const std::byte> piece = item.parts[part_].subspan(part_sent_, bytes - data->size());
    data->append(reinterpret_cast<const char*>(piece.data()), piece.size());
    part_sent_ += piece.size();
    if (part_sent_ < item.parts[part_].size()) continue;
    ++part_;
    part_sent_ = 0;
  }
}

}  // namespace slimfill::kvstore
