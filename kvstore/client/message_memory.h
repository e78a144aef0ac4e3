// Memory for messages that gRPC sends: as long as it holds one, and then for the next one.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/slice.h"

namespace slimfill::kvstore {

// Not thread safe, but for what gRPC does: it may let go of a slice on any thread, and when this is gone.
class MessageMemory {
  struct Spares;

 public:
  // Its contents are undefined at first.
  class Buffer {
   public:
    std::byte* data() { return bytes_.get(); }

   private:
    friend class MessageMemory;
    std::unique_ptr<std::byte[]> bytes_;
    size_t capacity_ = 0;
    std::shared_ptr<Spares> home_;
  };

  Buffer Take(size_t bytes);
  // The buffer's first bytes, as gRPC sends them.
  static grpc::Slice ToSlice(Buffer buffer, size_t bytes);

 private:
  struct Spares {
    absl::Mutex mutex;
    std::vector<Buffer> buffers ABSL_GUARDED_BY(mutex);
  };

  std::shared_ptr<Spares> spares_ = std::make_shared<Spares>();
};

}  // namespace slimfill::kvstore
