// Files that are wrong, one field at a time: each must be refused, with a text that says what is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/model/gguf.h"
#include "tests/support/gguf_builder.h"

namespace slimfill::engine {
namespace {

using ::slimfill::testing::GgufBuilder;
using ::slimfill::testing::GgufBytes;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t k2Pow62 = uint64_t{1} << 62;
constexpr uint64_t k2Pow63 = uint64_t{1} << 63;

absl::StatusOr<std::unique_ptr<GgufFile>> Parse(const std::vector<std::byte>& bytes, const GgufLimits& limits = {}) {
  return GgufFile::Parse(bytes, "test.gguf", limits);
}

void ExpectRefused(const GgufBuilder& builder, const std::string& text, const GgufLimits& limits = {}) {
  const absl::Status status = Parse(builder.Build(), limits).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("test.gguf"), HasSubstr(text)));
}

const std::vector<float> kFour = {1, 2, 3, 4};

GgufBuilder OneTensor() {
  GgufBuilder builder;
  builder.AddF32("t", {2, 2}, kFour);
  return builder;
}

GgufBuilder TwoTensors() {
  GgufBuilder builder;
  builder.AddF32("a", {2, 2}, kFour).AddF32("b", {4}, kFour);
  return builder;
}

// ---- The header ----

TEST(MalformedGguf, RefusesOtherMagic) {
  GgufBuilder builder = OneTensor();
  builder.magic = 0x67676d6c;
  ExpectRefused(builder, "not a GGUF file");
}

TEST(MalformedGguf, RefusesOtherVersions) {
  for (const uint32_t version : {0u, 1u, 4u, 0xffffffffu}) {
    GgufBuilder builder = OneTensor();
    builder.version = version;
    ExpectRefused(builder, "versions 2 and 3 are");
  }
}

TEST(MalformedGguf, RefusesBigEndian) {
  GgufBuilder builder = OneTensor();
  builder.version = 3u << 24;
  ExpectRefused(builder, "big-endian");
}

// CVE-2024-23605: a key count whose allocation wraps around.
TEST(MalformedGguf, RefusesKeyCountBeyondLimitOrFile) {
  GgufBuilder builder = OneTensor();
  for (const uint64_t count : {uint64_t{4097}, k2Pow62 - 1, k2Pow62, k2Pow63 - 1}) {
    builder.key_count = static_cast<int64_t>(count);
    ExpectRefused(builder, "metadata keys, the limit is 4096");
  }
  builder.key_count = 4096;
  ExpectRefused(builder, "key ");
}

TEST(MalformedGguf, RefusesTensorCountBeyondLimitOrFile) {
  GgufBuilder builder = OneTensor();
  for (const uint64_t count : {uint64_t{65537}, k2Pow62, k2Pow63 - 1}) {
    builder.tensor_count = static_cast<int64_t>(count);
    ExpectRefused(builder, "tensors, the limit is 65536");
  }
  builder.tensor_count = 65536;
  ExpectRefused(builder, "tensor");
}

TEST(MalformedGguf, RefusesCountsAbove2Pow63) {
  std::vector<std::byte> bytes = OneTensor().Build();
  for (const size_t offset : {8, 16}) {  // tensors, keys
    std::vector<std::byte> wrong = bytes;
    const uint64_t count = k2Pow63 + 1;
    std::memcpy(wrong.data() + offset, &count, sizeof(count));
    EXPECT_EQ(Parse(wrong).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(MalformedGguf, RefusesFileTruncatedAtAnyByte) {
  GgufBuilder builder = TwoTensors();
  builder.SetInt("int", 1).SetString("string", "text").SetStrings("strings", {"a", "b"}).SetBool("bool", true);
  const std::vector<std::byte> bytes = builder.Build();
  ASSERT_TRUE(Parse(bytes).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::vector<std::byte> cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    ASSERT_EQ(Parse(cut).status().code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

// ---- Metadata ----

TEST(MalformedGguf, RefusesDuplicateKey) {
  GgufBuilder builder;
  builder.SetInt("k", 1).SetInt("k", 1);
  ExpectRefused(builder, "\"k\" occurs twice");
}

TEST(MalformedGguf, RefusesStringLongerThanLimitOrFile) {
  for (const uint64_t length : {uint64_t{4}, uint64_t{1} << 20, (uint64_t{1} << 20) + 1, k2Pow63, UINT64_MAX - 3}) {
    GgufBuilder builder;
    builder.SetRaw("k", slimfill::testing::kGgufString, GgufBytes().Put(length).Put<uint16_t>(0));
    ExpectRefused(builder, length > (1 << 20) ? "longer than the limit" : "ends early");
  }
}

TEST(MalformedGguf, RefusesKeyLongerThanLimit) {
  GgufBuilder builder;
  builder.SetInt(std::string(65536, 'k'), 1);
  ExpectRefused(builder, "longer than the limit of 65535");
}

TEST(MalformedGguf, RefusesUnknownValueType) {
  for (const uint32_t type : {13u, 0xffffffffu}) {
    GgufBuilder builder;
    builder.SetRaw("k", type, GgufBytes().Put<uint64_t>(0));
    ExpectRefused(builder, "is unknown");
  }
}

TEST(MalformedGguf, RefusesBoolOtherThan0And1) {
  GgufBuilder builder;
  builder.SetRaw("k", slimfill::testing::kGgufBool, GgufBytes().Put<uint8_t>(2));
  ExpectRefused(builder, "must be 0 or 1");
}

GgufBuilder WithArray(uint32_t element_type, uint64_t count) {
  GgufBuilder builder;
  GgufBytes array;
  array.Put(element_type).Put(count).Put<uint64_t>(0).Put<uint64_t>(0);
  builder.SetRaw("k", slimfill::testing::kGgufArray, array);
  return builder;
}

TEST(MalformedGguf, RefusesNestedArrays) {
  ExpectRefused(WithArray(slimfill::testing::kGgufArray, 1), "nested arrays");
}

TEST(MalformedGguf, RefusesArrayOfUnknownType) {
  ExpectRefused(WithArray(13, 1), "element type");
  ExpectRefused(WithArray(0xffffffffu, 0), "element type");
}

// A count may not make the reader allocate more than the file could fill, nor wrap around when multiplied by a size.
TEST(MalformedGguf, RefusesArrayCountBeyondLimitOrFile) {
  for (uint32_t type = 0; type <= slimfill::testing::kGgufFloat64; ++type) {
    if (type == slimfill::testing::kGgufArray) continue;
    for (const uint64_t count : {uint64_t{17}, uint64_t{1} << 24}) ExpectRefused(WithArray(type, count), "bytes left");
    for (const uint64_t count : {(uint64_t{1} << 24) + 1, uint64_t{1} << 61, k2Pow62 + 1, k2Pow63 + 2, UINT64_MAX}) {
      ExpectRefused(WithArray(type, count), "longer than the limit");
    }
  }
}

TEST(MalformedGguf, RefusesArrayElementAboveInt64) {
  GgufBuilder builder;
  GgufBytes array;
  array.Put<uint32_t>(slimfill::testing::kGgufUint64).Put<uint64_t>(2).Put<uint64_t>(1).Put<uint64_t>(k2Pow63);
  builder.SetRaw("k", slimfill::testing::kGgufArray, array);
  ExpectRefused(builder, "element 1 is 9223372036854775808");
}

TEST(MalformedGguf, LimitsAreTheCallers) {
  GgufBuilder builder = TwoTensors();
  builder.SetStrings("k", {"abc", "def"}).SetInt("l", 1);
  GgufLimits limits;
  limits.max_keys = 1;
  ExpectRefused(builder, "limit is 1", limits);
  limits = {};
  limits.max_tensors = 1;
  ExpectRefused(builder, "limit is 1", limits);
  limits = {};
  limits.max_array_elements = 1;
  ExpectRefused(builder, "limit of 1", limits);
  limits = {};
  limits.max_string_bytes = 2;
  ExpectRefused(builder, "limit of 2", limits);
}

TEST(MalformedGguf, NamesInErrorsAreEscapedAndShort) {
  GgufBuilder builder;
  const std::string key = "a\n\x1b" + std::string(1000, 'x');
  builder.SetInt(key, 1).SetInt(key, 1);
  const std::string message(Parse(builder.Build()).status().message());
  EXPECT_THAT(message, HasSubstr("a\\n\\x1b"));
  EXPECT_LT(message.size(), 200u);
}

// ---- Alignment ----

TEST(MalformedGguf, RefusesAlignmentThatIsNoPowerOfTwoWithinTheLimit) {
  for (const uint32_t alignment : {0u, 1u, 4u, 24u, 33u, 131072u, 0x80000000u, 0xffffffffu}) {
    GgufBuilder builder = OneTensor();
    builder.SetInt("general.alignment", alignment);
    ExpectRefused(builder, "power of two from 8 to 65536");
  }
}

TEST(MalformedGguf, RefusesAlignmentOfAnotherType) {
  GgufBuilder builder = OneTensor();
  builder.SetFloat("general.alignment", 32);
  ExpectRefused(builder, "not an unsigned integer");
}

TEST(MalformedGguf, RefusesOffsetThatIsNotAligned) {
  GgufBuilder builder = TwoTensors();
  builder.tensors()[1].offset += 8;
  ExpectRefused(builder, "not a multiple of the alignment 32");
}

// ---- Tensors ----

TEST(MalformedGguf, RefusesDuplicateTensor) {
  GgufBuilder builder = TwoTensors();
  builder.tensors()[1].name = "a";
  ExpectRefused(builder, "\"a\" occurs twice");
}

TEST(MalformedGguf, RefusesTensorNameLongerThanTheFormatAllows) {
  GgufBuilder builder = OneTensor();
  builder.tensors()[0].name = std::string(65, 't');
  ExpectRefused(builder, "longer than the limit of 64");
}

TEST(MalformedGguf, RefusesTypesItCannotRead) {
  for (const uint32_t type : {4u, 5u, 9u, 10u, 11u, 15u, 20u, 24u, 31u, 0x80000000u, 0xffffffffu}) {
    GgufBuilder builder = OneTensor();
    builder.tensors()[0].type = type;
    ExpectRefused(builder, "is not supported: use a file in F32");
  }
}

TEST(MalformedGguf, RefusesZeroAndTooManyDimensions) {
  GgufBuilder builder = OneTensor();
  builder.tensors()[0].shape = {};
  ExpectRefused(builder, "0 dimensions");
  builder.tensors()[0].shape = {1, 1, 1, 1, 1};
  ExpectRefused(builder, "5 dimensions");
}

TEST(MalformedGguf, RefusesDimensionOfZero) {
  for (size_t i = 0; i < 2; ++i) {
    GgufBuilder builder = OneTensor();
    builder.tensors()[0].shape[i] = 0;
    ExpectRefused(builder, "is 0");
  }
}

// CVE-2024-21802 and CVE-2025-53630: element counts and byte counts that wrap around to small ones.
TEST(MalformedGguf, RefusesShapesWhoseElementCountOverflows) {
  const std::vector<std::vector<uint64_t>> shapes = {{k2Pow63},
                                                     {k2Pow63 + 4},
                                                     {UINT64_MAX},
                                                     {k2Pow62, 4},
                                                     {k2Pow62 + 1, 4},
                                                     {4, k2Pow62},
                                                     {4, k2Pow63 + 1},
                                                     {uint64_t{1} << 32, uint64_t{1} << 32},
                                                     {2, 2, k2Pow62},
                                                     {1 << 16, 1 << 16, 1 << 16, 1 << 16},
                                                     {4, 4, 4, k2Pow63 + 8}};
  for (const std::vector<uint64_t>& shape : shapes) {
    GgufBuilder builder = OneTensor();
    builder.tensors()[0].shape = shape;
    ExpectRefused(builder, "makes the element count overflow");
  }
}

// CVE-2026-27940 and CVE-2026-33298: the element count fits, the byte count wraps around.
TEST(MalformedGguf, RefusesShapesWhoseByteCountOverflows) {
  for (const std::vector<uint64_t>& shape : {std::vector<uint64_t>{k2Pow62}, {k2Pow62 + 4}, {4, k2Pow62 / 4 + 1}}) {
    GgufBuilder builder = OneTensor();
    builder.tensors()[0].shape = shape;
    ExpectRefused(builder, "makes the byte count overflow");
  }
}

TEST(MalformedGguf, RefusesShapesOfHugeByteCountThatDoesNotOverflow) {
  // 2^61 quantised elements are 1.1 x 2^61 bytes; 2^63 - 32 are 1.06 x 2^63: each is just too large for the file.
  for (const uint64_t columns : {k2Pow62 / 2, k2Pow63 - 32}) {
    GgufBuilder builder = OneTensor();
    builder.tensors()[0].type = static_cast<uint32_t>(GgmlType::kQ8_0);
    builder.tensors()[0].shape = {columns};
    ExpectRefused(builder, "the file is cut off");
  }
}

TEST(MalformedGguf, RefusesColumnsThatAreNoWholeBlocks) {
  GgufBuilder builder = OneTensor();
  builder.tensors()[0].type = static_cast<uint32_t>(GgmlType::kQ4_0);
  builder.tensors()[0].shape = {16, 2};
  ExpectRefused(builder, "16 columns are not a multiple of the 32 elements of a Q4_0 block");
  builder.tensors()[0].type = static_cast<uint32_t>(GgmlType::kQ4_K);
  builder.tensors()[0].shape = {128, 2};
  ExpectRefused(builder, "multiple of the 256 elements of a Q4_K block");
}

TEST(MalformedGguf, RefusesTensorPastEndOfFile) {
  GgufBuilder builder = TwoTensors();
  builder.tensors()[1].shape = {5};
  ExpectRefused(builder, "\"b\" needs 20 bytes");
}

// Offsets whose sum with the size, or with the start of the data, wraps around.
TEST(MalformedGguf, RefusesOffsetPastEndOfFile) {
  for (const uint64_t offset : {uint64_t{64}, k2Pow62, k2Pow63, UINT64_MAX - 31}) {
    GgufBuilder builder = TwoTensors();
    builder.tensors()[1].offset = offset;
    ExpectRefused(builder, "the file is cut off");
  }
}

TEST(MalformedGguf, RefusesFileThatEndsInThePadBeforeItsTensors) {
  GgufBuilder builder = OneTensor();
  builder.SetInt("general.alignment", 65536);
  ExpectRefused(builder, "ends before its tensors");
}

TEST(MalformedGguf, RefusesOverlappingTensors) {
  GgufBuilder builder;
  const std::vector<float> sixteen(16, 1.0f);
  builder.AddF32("a", {16}, sixteen).AddF32("b", {4}, kFour).AddF32("c", {4}, kFour);
  ASSERT_TRUE(Parse(builder.Build()).ok());
  builder.tensors()[1].offset = 32;
  ExpectRefused(builder, "\"a\" and \"b\" overlap");
  builder.tensors()[1].offset = builder.tensors()[2].offset;
  ExpectRefused(builder, "overlap");
}

}  // namespace
}  // namespace slimfill::engine
