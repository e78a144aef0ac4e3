#include "engine/ops/host_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill::engine {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kMapFrom = int64_t{1} << 21;  // one huge page

int64_t RoundUp(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

class HeapBuffer : public Buffer {
 public:
  HeapBuffer(void* data, int64_t bytes) : Buffer(data, bytes) {}
  ~HeapBuffer() override { std::free(data_); }
};

class MappedBuffer : public Buffer {
 public:
  MappedBuffer(void* data, int64_t bytes) : Buffer(data, bytes) {}
  ~MappedBuffer() override { munmap(data_, bytes_); }
};

absl::Status OutOfMemory(int64_t bytes) {
  return absl::ResourceExhaustedError(
      absl::StrCat("cannot allocate ", bytes, " bytes of host memory: lower the context length or the KV budget"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Buffer>> AllocateHostBuffer(int64_t bytes) {
  SLIMFILL_CHECK(bytes >= 0);
  if (bytes >= kMapFrom) {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return OutOfMemory(bytes);
    madvise(data, bytes, MADV_HUGEPAGE);  // advice only: small pages work as well
    return std::make_unique<MappedBuffer>(data, bytes);
  }
  const int64_t rounded = RoundUp(std::max<int64_t>(bytes, 1));
  void* data = std::aligned_alloc(kAlignment, rounded);
  if (data == nullptr) return OutOfMemory(bytes);
  std::memset(data, 0, rounded);
  return std::make_unique<HeapBuffer>(data, bytes);
}

absl::StatusOr<std::unique_ptr<Buffer>> UploadToHostBuffer(absl::Span<const float> values) {
  const int64_t bytes = static_cast<int64_t>(values.size() * sizeof(float));
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, AllocateHostBuffer(bytes));
  if (bytes > 0) std::memcpy(buffer->data(), values.data(), bytes);
  return buffer;
}

}  // namespace slimfill::engine
