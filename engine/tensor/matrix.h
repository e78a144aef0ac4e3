// Views of matrices in a backend's memory. Everything the engine computes on is a matrix of rows: one row a token.
#pragma once

#include <cstdint>

namespace slimfill::engine {

enum class DType : uint8_t { kF32, kBF16 };

constexpr int64_t DTypeBytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

// Borrowed; rows are `stride` elements apart, the elements of a row contiguous.
struct ConstMatrix {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  ConstMatrix Rows(int64_t first, int64_t count) const {
    return {static_cast<const char*>(data) + first * stride * DTypeBytes(dtype), dtype, count, cols, stride};
  }
};

struct Matrix {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  operator ConstMatrix() const { return {data, dtype, rows, cols, stride}; }  // NOLINT(google-explicit-constructor)
  Matrix Rows(int64_t first, int64_t count) const {
    return {static_cast<char*>(data) + first * stride * DTypeBytes(dtype), dtype, count, cols, stride};
  }
};

// A backend's memory, freed with the object.
class Buffer {
 public:
  virtual ~Buffer() = default;
  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  // A dense matrix at the buffer's start. REQUIRES: it fits.
  Matrix As(DType dtype, int64_t rows, int64_t cols) const { return {data_, dtype, rows, cols, cols}; }

 protected:
  Buffer(void* data, int64_t bytes) : data_(data), bytes_(bytes) {}
  void* data_;
  int64_t bytes_;
};

}  // namespace slimfill::engine
