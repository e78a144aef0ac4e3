#include "engine/model/dequantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/golden.h"

namespace slimfill::engine {
namespace {

using ::slimfill::testing::BytesFromHex;
using ::slimfill::testing::ReadGolden;

constexpr GgmlType kTypes[] = {GgmlType::kF32,  GgmlType::kF16,  GgmlType::kBF16, GgmlType::kQ8_0,
                               GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0, GgmlType::kQ5_1,
                               GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K};

struct Golden {
  std::vector<std::byte> bytes;
  std::vector<uint32_t> expected;  // f32 bits
};

Golden Read(GgmlType type) {
  const nlohmann::json document = ReadGolden(std::string("dequant/") + GgmlTypeName(type) + ".json");
  EXPECT_EQ(document.at("type").get<uint32_t>(), static_cast<uint32_t>(type));
  const std::vector<std::byte> expected = BytesFromHex(document.at("expected").get<std::string>());
  Golden golden{BytesFromHex(document.at("bytes").get<std::string>()), std::vector<uint32_t>(expected.size() / 4)};
  std::memcpy(golden.expected.data(), expected.data(), expected.size());
  return golden;
}

std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  std::memcpy(bits.data(), values.data(), values.size() * sizeof(float));
  return bits;
}

class DequantizeTest : public ::testing::TestWithParam<GgmlType> {};

TEST_P(DequantizeTest, IsBitEqualToTheReference) {
  const Golden golden = Read(GetParam());
  ASSERT_GE(golden.expected.size(), 200u);
  std::vector<float> values(golden.expected.size());
  DequantizeRow(GetParam(), golden.bytes, absl::MakeSpan(values));
  const std::vector<uint32_t> bits = Bits(values);
  for (size_t i = 0; i < bits.size(); ++i) {
    // Comparing bits tells -0 from 0; infinite scales are not among the goldens, so there is no NaN.
    ASSERT_EQ(bits[i], golden.expected[i]) << "element " << i << " is " << values[i];
  }
}

// A row is the same whether read alone or with others, wherever it lies in memory.
TEST_P(DequantizeTest, NeedsNoAlignmentAndTouchesNothingElse) {
  const Golden golden = Read(GetParam());
  const size_t block = static_cast<size_t>(GgmlBlockElements(GetParam()));
  const size_t block_bytes = static_cast<size_t>(GgmlBlockBytes(GetParam()));
  constexpr float kGuard = 12345.0f;
  for (size_t i = 0; i < golden.expected.size() / block; ++i) {
    std::vector<std::byte> shifted(block_bytes + 1);
    std::memcpy(shifted.data() + 1, golden.bytes.data() + i * block_bytes, block_bytes);
    std::vector<float> values(block + 2, kGuard);
    DequantizeRow(GetParam(), absl::MakeConstSpan(shifted).subspan(1), absl::MakeSpan(values).subspan(1, block));
    EXPECT_EQ(values.front(), kGuard);
    EXPECT_EQ(values.back(), kGuard);
    const std::vector<uint32_t> bits = Bits({values.begin() + 1, values.end() - 1});
    ASSERT_EQ(std::memcmp(bits.data(), golden.expected.data() + i * block, block * sizeof(float)), 0) << "block " << i;
  }
}

TEST_P(DequantizeTest, AcceptsAnEmptyRow) { DequantizeRow(GetParam(), {}, {}); }

INSTANTIATE_TEST_SUITE_P(AllTypes, DequantizeTest, ::testing::ValuesIn(kTypes),
                         [](const auto& info) { return std::string(GgmlTypeName(info.param)); });

TEST(DequantizeF16, ConvertsEveryValue) {
  for (uint32_t half = 0; half <= 0xffff; ++half) {
    const std::byte bytes[2] = {static_cast<std::byte>(half & 0xff), static_cast<std::byte>(half >> 8)};
    float value;
    DequantizeRow(GgmlType::kF16, bytes, absl::MakeSpan(&value, 1));
    const int exponent = static_cast<int>(half >> 10 & 31);
    const float mantissa = static_cast<float>(half & 1023);
    ASSERT_EQ(std::signbit(value), half >= 0x8000) << half;
    if (exponent == 31) {
      ASSERT_TRUE(mantissa == 0 ? std::isinf(value) : std::isnan(value)) << half;
    } else {
      const float magnitude =
          exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024.0f + mantissa, exponent - 15 - 10);
      ASSERT_EQ(std::fabs(value), magnitude) << half;
    }
  }
}

TEST(DequantizeDeathTest, RefusesSizesThatDoNotMatch) {
  std::vector<std::byte> bytes(18);
  std::vector<float> values(64);
  EXPECT_DEATH(DequantizeRow(GgmlType::kQ4_0, bytes, absl::MakeSpan(values)), "internal error");
  EXPECT_DEATH(DequantizeRow(GgmlType::kQ4_0, bytes, absl::MakeSpan(values).first(16)), "internal error");
}

}  // namespace
}  // namespace slimfill::engine
