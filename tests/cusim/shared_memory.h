// A block's shared memory: poisoned at the start, with guards against overruns. Where a sanitizer looks on, every array
// is a heap block of its own, of exact size.
#pragma once

#include <cstddef>
#include <vector>

namespace cusim {

class SharedMemory {
 public:
  SharedMemory() = default;
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory();

  // `limit`: of the dynamic memory and all arrays.
  void BeginBlock(size_t dynamic_bytes, size_t limit);
  void EndBlock();  // checks the guards
  void EndGrid();   // frees what sanitizers need kept apart from block to block

  unsigned char* dynamic() const { return dynamic_; }
  // The static array of this key; the first call of a block makes it.
  void* Array(const void* key, size_t bytes);

 private:
  struct Piece {
    const void* key;
    unsigned char* begin;
    size_t bytes;
  };
  unsigned char* Take(const void* key, size_t bytes);

  unsigned char* dynamic_ = nullptr;
  std::vector<Piece> pieces_;
  size_t asked_ = 0, limit_ = 0;
  unsigned char* area_ = nullptr;
  size_t used_ = 0;
  std::vector<unsigned char*> kept_;
};

}  // namespace cusim
