#include "cusim/tensor_core.h"

#include "cusim/intrinsics.h"
#include "tests/cusim/block.h"
#include "tests/cusim/omissions.h"
#include "tests/cusim/visible_memory.h"

namespace cusim {
namespace {

constexpr unsigned kFullWarp = 0xffffffffu;

float Bf16Half(uint32_t pair, int half) { return __uint_as_float(half == 1 ? pair & 0xffff0000u : pair << 16); }

struct MmaArgument {
  float* c;
  const uint32_t* a;
  const uint32_t* b;
};

// Fragment layouts: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
void RunMma(void* const* arguments, unsigned) {
  float a[16][16], b[16][8], c[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& own = *static_cast<MmaArgument*>(arguments[lane]);
    const int group = lane / 4, in_group = lane % 4;
    for (int half = 0; half < 2; ++half) {
      for (int r = 0; r < 4; ++r) a[group + r % 2 * 8][in_group * 2 + half + r / 2 * 8] = Bf16Half(own.a[r], half);
      for (int r = 0; r < 2; ++r) b[in_group * 2 + half + r * 8][group] = Bf16Half(own.b[r], half);
    }
    for (int e = 0; e < 4; ++e) c[group + e / 2 * 8][in_group * 2 + e % 2] = own.c[e];
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 16; ++k) {
      for (int col = 0; col < 8; ++col) c[row][col] += a[row][k] * b[k][col];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const auto& own = *static_cast<MmaArgument*>(arguments[lane]);
    for (int e = 0; e < 4; ++e) own.c[e] = c[lane / 4 + e / 2 * 8][lane % 4 * 2 + e % 2];
  }
}

struct LdmatrixArgument {
  uint32_t* r;
  uint16_t row[8];
  bool transposed;
};

void RunLdmatrix(void* const* arguments, unsigned) {
  for (int lane = 0; lane < 32; ++lane) {
    const auto& own = *static_cast<LdmatrixArgument*>(arguments[lane]);
    for (int matrix = 0; matrix < 4; ++matrix) {
      const auto at = [&](int row, int col) {
        return uint32_t{static_cast<LdmatrixArgument*>(arguments[matrix * 8 + row])->row[col]};
      };
      const int group = lane / 4, pair = lane % 4 * 2;
      own.r[matrix] =
          own.transposed ? at(pair, group) | at(pair + 1, group) << 16 : at(group, pair) | at(group, pair + 1) << 16;
    }
  }
}

void CheckAligned(const void* p, const char* what) {
  if (reinterpret_cast<uintptr_t>(p) % 16 != 0) Fail("%s: %p is not aligned to 16 bytes", what, p);
}

}  // namespace

void MmaM16N8K16Bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) {
  MmaArgument argument{c, a, b};
  WarpCollective(WarpOp::kMma, kFullWarp, &RunMma, &argument, site);
}

void LdmatrixX4(uint32_t (&r)[4], const void* row, bool transposed, Site site) {
  CheckAligned(row, "ldmatrix");
  LdmatrixArgument argument{r, {}, transposed};
  VisibleCopy(argument.row, row, sizeof(argument.row));  // the lane that owns the row reads it
  WarpCollective(WarpOp::kLdmatrix, kFullWarp, &RunLdmatrix, &argument, site);
}

void CpAsync(void* to, const void* from, unsigned bytes, unsigned valid) {
  CheckAligned(to, "cp.async destination");
  CheckAligned(from, "cp.async source");
  BlockRunner::Running()->CpAsync({to, from, bytes, valid, 0});
}
void CpAsyncCommit() { BlockRunner::Running()->CpAsyncCommit(); }
void CpAsyncWait(int pending_groups, Site site) {
  if (!LeftOut("cp.async.wait_group", site)) BlockRunner::Running()->CpAsyncWait(pending_groups);
}

}  // namespace cusim
