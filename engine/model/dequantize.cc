#include "engine/model/dequantize.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "base/status.h"

// The formulas are the formats' definition; every multiplication and addition is rounded on its own (this file is
// compiled without contraction to fused multiply-add), in the order the reference writes them.
namespace slimfill::engine {
namespace {

// The formats' blocks as they lie in a file: bytes only, so that they need no alignment.
struct BlockQ4_0 {
  uint8_t scale[2];     // f16
  uint8_t nibbles[16];  // element j in the low half of byte j, element j + 16 in the high half
};
struct BlockQ4_1 {
  uint8_t scale[2];
  uint8_t min[2];
  uint8_t nibbles[16];
};
struct BlockQ5_0 {
  uint8_t scale[2];
  uint8_t high_bits[4];  // bit j: the fifth bit of element j
  uint8_t nibbles[16];
};
struct BlockQ5_1 {
  uint8_t scale[2];
  uint8_t min[2];
  uint8_t high_bits[4];
  uint8_t nibbles[16];
};
struct BlockQ8_0 {
  uint8_t scale[2];
  int8_t values[32];
};
// The K types: 256 elements in sub-blocks that have scales of their own, themselves quantised.
struct BlockQ4_K {
  uint8_t scale[2];
  uint8_t min[2];
  uint8_t sub_scales[12];  // eight 6-bit scales and eight 6-bit minimums
  uint8_t nibbles[128];    // 4 groups of 64 elements: the low halves of 32 bytes, then the high halves
};
struct BlockQ5_K {
  uint8_t scale[2];
  uint8_t min[2];
  uint8_t sub_scales[12];
  uint8_t high_bits[32];  // bit i of byte j: the fifth bit of element 32 * i + j
  uint8_t nibbles[128];
};
struct BlockQ6_K {
  uint8_t low[128];       // 2 groups of 128 elements: the low halves of 64 bytes, then the high halves
  uint8_t high[64];       // 2 groups of 32 bytes: bits 2i and 2i + 1 of byte j belong to element 32 * i + j
  int8_t sub_scales[16];  // one for 16 elements
  uint8_t scale[2];
};

float HalfToFloat(uint32_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7fffu;
  const uint32_t exponent = magnitude >> 10;
  // The exponent's bias goes from 15 to 127; infinity and NaN keep all its bits set.
  const uint32_t normal = (magnitude << 13) + (exponent == 31 ? 224u << 23 : 112u << 23);
  // A subnormal is its mantissa times 2^-24, exact in f32.
  const uint32_t subnormal = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  return std::bit_cast<float>(sign | (exponent == 0 ? subnormal : normal));
}

uint32_t LoadU16(const uint8_t* bytes) { return bytes[0] | static_cast<uint32_t>(bytes[1]) << 8; }
float LoadHalf(const uint8_t* bytes) { return HalfToFloat(LoadU16(bytes)); }

// For each byte, its eight bits spread over eight bytes, each 0 or 16: the fifth bits of eight elements.
constexpr std::array<std::array<uint8_t, 8>, 256> MakeFifthBits() {
  std::array<std::array<uint8_t, 8>, 256> table{};
  for (int byte = 0; byte < 256; ++byte) {
    for (int bit = 0; bit < 8; ++bit) table[byte][bit] = static_cast<uint8_t>(((byte >> bit) & 1) << 4);
  }
  return table;
}
constexpr std::array<std::array<uint8_t, 8>, 256> kFifthBits = MakeFifthBits();

// The 32 5-bit values of a Q5_0 or Q5_1 block.
void Unpack5(const uint8_t* high_bits, const uint8_t* nibbles, uint8_t* values) {
  for (int i = 0; i < 4; ++i) std::memcpy(values + 8 * i, kFifthBits[high_bits[i]].data(), 8);
  for (int j = 0; j < 16; ++j) {
    values[j] |= nibbles[j] & 15;
    values[j + 16] |= nibbles[j] >> 4;
  }
}

void Dequantize(const BlockQ4_0& block, float* dst) {
  const float scale = LoadHalf(block.scale);
  for (int j = 0; j < 16; ++j) {
    dst[j] = static_cast<float>((block.nibbles[j] & 15) - 8) * scale;
    dst[j + 16] = static_cast<float>((block.nibbles[j] >> 4) - 8) * scale;
  }
}

void Dequantize(const BlockQ4_1& block, float* dst) {
  const float scale = LoadHalf(block.scale);
  const float min = LoadHalf(block.min);
  for (int j = 0; j < 16; ++j) {
    dst[j] = static_cast<float>(block.nibbles[j] & 15) * scale + min;
    dst[j + 16] = static_cast<float>(block.nibbles[j] >> 4) * scale + min;
  }
}

void Dequantize(const BlockQ5_0& block, float* dst) {
  const float scale = LoadHalf(block.scale);
  uint8_t values[32];
  Unpack5(block.high_bits, block.nibbles, values);
  for (int j = 0; j < 32; ++j) dst[j] = static_cast<float>(values[j] - 16) * scale;
}

void Dequantize(const BlockQ5_1& block, float* dst) {
  const float scale = LoadHalf(block.scale);
  const float min = LoadHalf(block.min);
  uint8_t values[32];
  Unpack5(block.high_bits, block.nibbles, values);
  for (int j = 0; j < 32; ++j) dst[j] = static_cast<float>(values[j]) * scale + min;
}

void Dequantize(const BlockQ8_0& block, float* dst) {
  const float scale = LoadHalf(block.scale);
  for (int j = 0; j < 32; ++j) dst[j] = static_cast<float>(block.values[j]) * scale;
}

struct ScaleAndMin {
  uint8_t scale;
  uint8_t min;
};

// The 6-bit scale and minimum of sub-block i of eight: the first four lie whole in bytes 0-3 and 4-7, the others have
// their low four bits in bytes 8-11 and their high two in the top of bytes 0-7.
ScaleAndMin SubScale(const uint8_t* packed, int i) {
  if (i < 4) return {static_cast<uint8_t>(packed[i] & 63), static_cast<uint8_t>(packed[i + 4] & 63)};
  return {static_cast<uint8_t>((packed[i + 4] & 15) | (packed[i - 4] >> 6) << 4),
          static_cast<uint8_t>((packed[i + 4] >> 4) | (packed[i] >> 6) << 4)};
}

void Dequantize(const BlockQ4_K& block, float* dst) {
  const float scale = LoadHalf(block.scale);
  const float min = LoadHalf(block.min);
  for (int group = 0; group < 4; ++group) {
    const ScaleAndMin low = SubScale(block.sub_scales, 2 * group);
    const ScaleAndMin high = SubScale(block.sub_scales, 2 * group + 1);
    const float low_scale = scale * low.scale, low_min = min * low.min;
    const float high_scale = scale * high.scale, high_min = min * high.min;
    const uint8_t* nibbles = block.nibbles + 32 * group;
    for (int j = 0; j < 32; ++j) {
      dst[64 * group + j] = low_scale * static_cast<float>(nibbles[j] & 15) - low_min;
      dst[64 * group + 32 + j] = high_scale * static_cast<float>(nibbles[j] >> 4) - high_min;
    }
  }
}

void Dequantize(const BlockQ5_K& block, float* dst) {
  const float scale = LoadHalf(block.scale);
  const float min = LoadHalf(block.min);
  for (int group = 0; group < 4; ++group) {
    const ScaleAndMin low = SubScale(block.sub_scales, 2 * group);
    const ScaleAndMin high = SubScale(block.sub_scales, 2 * group + 1);
    const float low_scale = scale * low.scale, low_min = min * low.min;
    const float high_scale = scale * high.scale, high_min = min * high.min;
    const uint8_t* nibbles = block.nibbles + 32 * group;
    for (int j = 0; j < 32; ++j) {
      const int low_bit = (block.high_bits[j] >> (2 * group)) & 1;
      const int high_bit = (block.high_bits[j] >> (2 * group + 1)) & 1;
      dst[64 * group + j] = low_scale * static_cast<float>((nibbles[j] & 15) | low_bit << 4) - low_min;
      dst[64 * group + 32 + j] = high_scale * static_cast<float>((nibbles[j] >> 4) | high_bit << 4) - high_min;
    }
  }
}

void Dequantize(const BlockQ6_K& block, float* dst) {
  const float scale = LoadHalf(block.scale);
  int8_t values[256];
  for (int group = 0; group < 2; ++group) {
    const uint8_t* low = block.low + 64 * group;
    const uint8_t* high = block.high + 32 * group;
    int8_t* out = values + 128 * group;
    for (int j = 0; j < 32; ++j) {
      out[j] = static_cast<int8_t>(((low[j] & 15) | (high[j] & 3) << 4) - 32);
      out[j + 32] = static_cast<int8_t>(((low[j + 32] & 15) | ((high[j] >> 2) & 3) << 4) - 32);
      out[j + 64] = static_cast<int8_t>(((low[j] >> 4) | ((high[j] >> 4) & 3) << 4) - 32);
      out[j + 96] = static_cast<int8_t>(((low[j + 32] >> 4) | (high[j] >> 6) << 4) - 32);
    }
  }
  for (int sub = 0; sub < 16; ++sub) {
    const float sub_scale = scale * static_cast<float>(block.sub_scales[sub]);
    for (int j = 0; j < 16; ++j) dst[16 * sub + j] = sub_scale * static_cast<float>(values[16 * sub + j]);
  }
}

template <typename Block, int kElements>
void DequantizeBlocks(const uint8_t* __restrict src, float* __restrict dst, size_t elements) {
  for (size_t i = 0; i < elements / kElements; ++i) {
    Block block;
    std::memcpy(&block, src + i * sizeof(Block), sizeof(Block));
    Dequantize(block, dst + i * kElements);
  }
}

void DequantizeF16(const uint8_t* __restrict src, float* __restrict dst, size_t elements) {
  for (size_t i = 0; i < elements; ++i) dst[i] = LoadHalf(src + 2 * i);
}

void DequantizeBF16(const uint8_t* __restrict src, float* __restrict dst, size_t elements) {
  for (size_t i = 0; i < elements; ++i) dst[i] = std::bit_cast<float>(LoadU16(src + 2 * i) << 16);
}

}  // namespace

void DequantizeRow(GgmlType type, absl::Span<const std::byte> src, absl::Span<float> dst) {
  const int64_t block_elements = GgmlBlockElements(type);
  SLIMFILL_CHECK(block_elements > 0 && dst.size() % block_elements == 0);
  SLIMFILL_CHECK(src.size() == dst.size() / block_elements * GgmlBlockBytes(type));
  const auto* in = reinterpret_cast<const uint8_t*>(src.data());
  float* out = dst.data();
  switch (type) {
    case GgmlType::kF32:
      if (!dst.empty()) std::memcpy(out, in, src.size());
      return;
    case GgmlType::kF16:
      return DequantizeF16(in, out, dst.size());
    case GgmlType::kBF16:
      return DequantizeBF16(in, out, dst.size());
    case GgmlType::kQ4_0:
      return DequantizeBlocks<BlockQ4_0, 32>(in, out, dst.size());
    case GgmlType::kQ4_1:
      return DequantizeBlocks<BlockQ4_1, 32>(in, out, dst.size());
    case GgmlType::kQ5_0:
      return DequantizeBlocks<BlockQ5_0, 32>(in, out, dst.size());
    case GgmlType::kQ5_1:
      return DequantizeBlocks<BlockQ5_1, 32>(in, out, dst.size());
    case GgmlType::kQ8_0:
      return DequantizeBlocks<BlockQ8_0, 32>(in, out, dst.size());
    case GgmlType::kQ4_K:
      return DequantizeBlocks<BlockQ4_K, 256>(in, out, dst.size());
    case GgmlType::kQ5_K:
      return DequantizeBlocks<BlockQ5_K, 256>(in, out, dst.size());
    case GgmlType::kQ6_K:
      return DequantizeBlocks<BlockQ6_K, 256>(in, out, dst.size());
  }
}

}  // namespace slimfill::engine
