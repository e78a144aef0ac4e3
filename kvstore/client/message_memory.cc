#include "kvstore/client/message_memory.h"

#include <utility>

namespace slimfill::kvstore {

MessageMemory::Buffer MessageMemory::Take(size_t bytes) {
  Buffer buffer;
  {
    absl::MutexLock lock(&spares_->mutex);
    if (!spares_->buffers.empty()) {
      buffer = std::move(spares_->buffers.back());
      spares_->buffers.pop_back();
    }
  }
  if (buffer.capacity_ < bytes) {
    buffer.bytes_.reset(new std::byte[bytes]);  // make_unique would fill it with zeros
    buffer.capacity_ = bytes;
  }
  buffer.home_ = spares_;
  return buffer;
}

grpc::Slice MessageMemory::ToSlice(Buffer buffer, size_t bytes) {
  auto* const sent = new Buffer(std::move(buffer));
  return grpc::Slice(
      sent->data(), bytes,
      [](void* done) {
        const std::unique_ptr<Buffer> returned(static_cast<Buffer*>(done));
        const std::shared_ptr<Spares> home = std::move(returned->home_);
        absl::MutexLock lock(&home->mutex);
        home->buffers.push_back(std::move(*returned));
      },
      sent);
}

}  // namespace slimfill::kvstore
