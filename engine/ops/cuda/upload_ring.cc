#include "engine/ops/cuda/upload_ring.h"

#include "base/status.h"
#include "engine/ops/cuda/device.h"

namespace slimfill::engine::cuda {
namespace {

constexpr int64_t kAlignment = 256;

int64_t RoundUp(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

absl::StatusOr<std::unique_ptr<UploadRing>> UploadRing::Create(Stream& stream, Health& health, int64_t bytes) {
  bytes = RoundUp(bytes / kParts) * kParts;
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<PinnedMemory> pinned, PinnedMemory::Allocate(bytes));
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> device, AllocateOnDevice(bytes, stream.get()));
  return std::unique_ptr<UploadRing>(new UploadRing(stream, health, std::move(pinned), std::move(device)));
}

UploadRing::UploadRing(Stream& stream, Health& health, std::unique_ptr<PinnedMemory> pinned,
                       std::unique_ptr<Buffer> device)
    : stream_(stream),
      health_(health),
      pinned_(std::move(pinned)),
      device_(std::move(device)),
      part_bytes_(pinned_->bytes() / kParts) {
  for (std::unique_ptr<Event>& event : copied_) event = std::make_unique<Event>(health);
}

int64_t UploadRing::ReserveBytes(int64_t bytes) {
  bytes = RoundUp(bytes);
  SLIMFILL_CHECK(bytes <= part_bytes_);
  if (end_ + bytes > (part_ + 1) * part_bytes_) {
    Send();
    copied_[part_]->Record(stream_.get());
    part_ = (part_ + 1) % kParts;
    copied_[part_]->Synchronize();
    sent_ = end_ = part_ * part_bytes_;
  }
  const int64_t offset = end_;
  end_ += bytes;
  return offset;
}

void UploadRing::Send() {
  if (sent_ == end_) return;
  health_.Check(cudaMemcpyAsync(static_cast<std::byte*>(device_->data()) + sent_, pinned_->data() + sent_, end_ - sent_,
                                cudaMemcpyHostToDevice, stream_.get()),
                "uploading an op's arguments");
  sent_ = end_;
}

}  // namespace slimfill::engine::cuda
