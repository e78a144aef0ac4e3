// What every op of the CPU backend works with: the kernels, the pool, and memory for the workers.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "engine/ops/cpu/int8_kernels.h"
#include "engine/ops/cpu/kernels.h"
#include "engine/ops/host_buffer.h"
#include "engine/tensor/matrix.h"

namespace slimfill::engine::cpu {

// Scratch memory that grows to what was asked for and stays: each worker has its own, and the engine thread one more
// that an op may share among its workers.
class Scratch {
 public:
  explicit Scratch(int workers) : buffers_(workers + 1) {}

  // 64-byte aligned, contents undefined; valid until the same owner's next call.
  void* ForWorker(int worker, int64_t bytes) { return Grow(buffers_[worker + 1], bytes); }
  void* Shared(int64_t bytes) { return Grow(buffers_[0], bytes); }

 private:
  static void* Grow(std::unique_ptr<Buffer>& buffer, int64_t bytes) {
    if (buffer == nullptr || buffer->bytes() < bytes) {
      buffer.reset();
      auto larger = AllocateHostBuffer(bytes);
      SLIMFILL_CHECK(larger.ok());  // a few megabytes: without them nothing else works either
      buffer = std::move(larger).value();
    }
    return buffer->data();
  }

  std::vector<std::unique_ptr<Buffer>> buffers_;
};

struct Context {
  const Kernels& kernels;
  const Int8Kernels& int8;
  ThreadPool& pool;
  Scratch& scratch;
};

// Runs body(first, count, worker) over rows [0, rows) in parts of about `grain` rows.
template <typename Body>
void ForRows(const Context& context, int64_t rows, int64_t grain, const Body& body) {
  context.pool.ParallelFor((rows + grain - 1) / grain, [&](int64_t part, int worker) {
    const int64_t first = part * grain;
    body(first, first + grain < rows ? grain : rows - first, worker);
  });
}

inline const uint16_t* Bf16Row(const ConstMatrix& m, int64_t row) {
  return static_cast<const uint16_t*>(m.data) + row * m.stride;
}
inline uint16_t* Bf16Row(const Matrix& m, int64_t row) { return static_cast<uint16_t*>(m.data) + row * m.stride; }
inline const float* F32Row(const ConstMatrix& m, int64_t row) {
  return static_cast<const float*>(m.data) + row * m.stride;
}
inline float* F32Row(const Matrix& m, int64_t row) { return static_cast<float*>(m.data) + row * m.stride; }

}  // namespace slimfill::engine::cpu
