// Small things an op needs on the device (positions, page tables, stored rows): written into pinned memory, copied in
// stream order, valid for the kernels launched next. A ring of four parts: a part's pinned memory is written again only
// when the copies out of it are done.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <type_traits>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/ops/cuda/stream.h"
#include "engine/tensor/matrix.h"

namespace slimfill::engine::cuda {

class UploadRing {
 public:
  // `bytes`: of the whole ring. `stream` is the one whose kernels read what is uploaded, and outlives the ring.
  static absl::StatusOr<std::unique_ptr<UploadRing>> Create(Stream& stream, Health& health, int64_t bytes);

  // The most that one op may have uploaded at a time, all its pieces together, and the most of one piece.
  int64_t max_op_bytes() const { return 3 * part_bytes_; }
  int64_t max_piece_bytes() const { return part_bytes_; }

  // Space to be filled before Send and before the next Reserve or Put, which may send what is there. REQUIRES:
  // count * sizeof(T) <= max_piece_bytes().
  template <typename T>
  struct Piece {
    T* host;
    T* device;
  };
  template <typename T>
  Piece<T> Reserve(int64_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    const int64_t offset = ReserveBytes(count * static_cast<int64_t>(sizeof(T)));
    return {reinterpret_cast<T*>(pinned_->data() + offset),
            reinterpret_cast<T*>(static_cast<std::byte*>(device_->data()) + offset)};
  }
  template <typename T>
  const T* Put(absl::Span<const T> values) {
    const Piece<T> piece = Reserve<T>(static_cast<int64_t>(values.size()));
    if (!values.empty()) std::memcpy(piece.host, values.data(), values.size() * sizeof(T));
    return piece.device;
  }
  // Queues the copy of all pieces since the last call; before the kernels that read them.
  void Send();

 private:
  static constexpr int kParts = 4;
  UploadRing(Stream& stream, Health& health, std::unique_ptr<PinnedMemory> pinned, std::unique_ptr<Buffer> device);
  int64_t ReserveBytes(int64_t bytes);

  Stream& stream_;
  Health& health_;
  const std::unique_ptr<PinnedMemory> pinned_;
  const std::unique_ptr<Buffer> device_;
  const int64_t part_bytes_;
  std::array<std::unique_ptr<Event>, kParts> copied_;  // what was sent out of each part
  int64_t part_ = 0;                                   // the one being filled
  int64_t sent_ = 0, end_ = 0;                         // offsets in it: [sent_, end_) is not sent yet
};

}  // namespace slimfill::engine::cuda
