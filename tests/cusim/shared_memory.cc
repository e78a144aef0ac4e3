#include "tests/cusim/shared_memory.h"

#include <cstdlib>
#include <cstring>

#include "cusim/lane.h"
#include "tests/cusim/visible_memory.h"

namespace cusim {
namespace {

constexpr size_t kAlignment = 128;
constexpr size_t kGuardBytes = 128;
constexpr unsigned char kGuard = 0xa5;
constexpr int kPoison = 0xff;  // NaN as f32 and bf16
constexpr size_t kAreaBytes = 256 << 10;
#if defined(CUSIM_TSAN)
constexpr size_t kStaticBytes = 16 << 10;
#endif

size_t RoundUp(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

unsigned char* AllocateAligned(size_t bytes) {
  void* p = nullptr;
  if (posix_memalign(&p, kAlignment, bytes == 0 ? 1 : bytes) != 0) Fail("no memory for shared memory");
  return static_cast<unsigned char*>(p);
}

}  // namespace

SharedMemory::~SharedMemory() {
  EndGrid();
  std::free(area_);
}

void SharedMemory::BeginBlock(size_t dynamic_bytes, size_t limit) {
  pieces_.clear();
  used_ = 0;
  asked_ = dynamic_bytes;
  limit_ = limit;
  dynamic_ = Take(nullptr, dynamic_bytes);
#if defined(CUSIM_TSAN)
  // Static arrays are made by the first lane that asks; their poison must come before all lanes.
  area_ = AllocateAligned(kStaticBytes);
  kept_.push_back(area_);
  VisibleSet(area_, kPoison, kStaticBytes);
  used_ = 0;
#endif
}

void* SharedMemory::Array(const void* key, size_t bytes) {
  for (const Piece& piece : pieces_) {
    if (piece.key == key) return piece.begin;
  }
  asked_ += bytes;
  if (asked_ > limit_) Fail("a block takes %zu bytes of shared memory, the device has %zu for it", asked_, limit_);
#if defined(CUSIM_TSAN)
  unsigned char* begin = area_ + used_;
  used_ += RoundUp(bytes);
  if (used_ > kStaticBytes) Fail("more than %zu bytes of static shared arrays: raise kStaticBytes", kStaticBytes);
  pieces_.push_back({key, begin, bytes});
  return begin;
#else
  return Take(key, bytes);
#endif
}

#if defined(CUSIM_ASAN) || defined(CUSIM_TSAN)
unsigned char* SharedMemory::Take(const void* key, size_t bytes) {
  unsigned char* begin = AllocateAligned(bytes);
  kept_.push_back(begin);
  VisibleSet(begin, kPoison, bytes);
  pieces_.push_back({key, begin, bytes});
  return begin;
}

void SharedMemory::EndBlock() {
#if defined(CUSIM_ASAN)
  EndGrid();
#endif
}
#else
unsigned char* SharedMemory::Take(const void* key, size_t bytes) {
  if (area_ == nullptr) area_ = AllocateAligned(kAreaBytes);
  unsigned char* begin = area_ + used_;
  used_ += RoundUp(bytes) + kGuardBytes;
  if (used_ > kAreaBytes) Fail("a block uses more than %zu bytes of shared memory", kAreaBytes);
  std::memset(begin, kPoison, bytes);
  std::memset(begin + bytes, kGuard, RoundUp(bytes) - bytes + kGuardBytes);
  pieces_.push_back({key, begin, bytes});
  return begin;
}

void SharedMemory::EndBlock() {
  for (const Piece& piece : pieces_) {
    for (size_t i = piece.bytes; i < RoundUp(piece.bytes) + kGuardBytes; ++i) {
      if (piece.begin[i] != kGuard) {
        Fail("shared memory overrun: byte %zu of %zu was written in a block", i, piece.bytes);
      }
    }
  }
}
#endif

void SharedMemory::EndGrid() {
  for (unsigned char* piece : kept_) std::free(piece);
  kept_.clear();
#if defined(CUSIM_TSAN)
  area_ = nullptr;  // was one of them
#endif
}

}  // namespace cusim
