#include "engine/model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/gguf_builder.h"
#include "tests/support/tiny_model.h"

namespace slimfill::engine {
namespace {

using ::slimfill::testing::GgufBuilder;
using ::slimfill::testing::GgufBytes;
using ::testing::AllOf;
using ::testing::ElementsAre;
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

// ---- What a good file gives ----

TEST(Gguf, ReadsVersions2And3) {
  for (const uint32_t version : {2u, 3u}) {
    GgufBuilder builder = OneTensor();
    builder.version = version;
    const std::vector<std::byte> bytes = builder.Build();
    const auto file = Parse(bytes);
    ASSERT_TRUE(file.ok()) << file.status();
    const GgufTensor* tensor = (*file)->FindTensor("t");
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->type, GgmlType::kF32);
    EXPECT_THAT(tensor->shape, ElementsAre(2, 2));
    EXPECT_EQ(tensor->cols(), 2);
    EXPECT_EQ(tensor->rows(), 2);
    ASSERT_EQ(tensor->bytes.size(), 16u);
    EXPECT_EQ(std::memcmp(tensor->bytes.data(), kFour.data(), 16), 0);
    EXPECT_EQ((*file)->FindTensor("u"), nullptr);
  }
}

TEST(Gguf, ReadsAFileWithoutTensorsOrKeys) {
  const auto file = Parse(GgufBuilder().Build());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->tensors().empty());
  EXPECT_TRUE((*file)->metadata().empty());
}

TEST(Gguf, WidensEveryScalarType) {
  GgufBuilder builder;
  builder.SetRaw("u8", slimfill::testing::kGgufUint8, GgufBytes().Put<uint8_t>(200));
  builder.SetRaw("i8", slimfill::testing::kGgufInt8, GgufBytes().Put<int8_t>(-100));
  builder.SetRaw("u16", slimfill::testing::kGgufUint16, GgufBytes().Put<uint16_t>(60000));
  builder.SetRaw("i16", slimfill::testing::kGgufInt16, GgufBytes().Put<int16_t>(-30000));
  builder.SetRaw("u32", slimfill::testing::kGgufUint32, GgufBytes().Put<uint32_t>(4000000000u));
  builder.SetRaw("i32", slimfill::testing::kGgufInt32, GgufBytes().Put<int32_t>(-2000000000));
  builder.SetRaw("u64", slimfill::testing::kGgufUint64, GgufBytes().Put<uint64_t>(k2Pow62));
  builder.SetRaw("i64", slimfill::testing::kGgufInt64, GgufBytes().Put<int64_t>(-5));
  builder.SetRaw("f32", slimfill::testing::kGgufFloat32, GgufBytes().Put(0.5f));
  builder.SetRaw("f64", slimfill::testing::kGgufFloat64, GgufBytes().Put(0.1));
  builder.SetBool("yes", true).SetBool("no", false).SetString("text", "grüße");
  const std::vector<std::byte> bytes = builder.Build();
  const auto file = Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*(*file)->GetInt("u8"), 200);
  EXPECT_EQ(*(*file)->GetInt("i8"), -100);
  EXPECT_EQ(*(*file)->GetInt("u16"), 60000);
  EXPECT_EQ(*(*file)->GetInt("i16"), -30000);
  EXPECT_EQ(*(*file)->GetInt("u32"), 4000000000);
  EXPECT_EQ(*(*file)->GetInt("i32"), -2000000000);
  EXPECT_EQ(*(*file)->GetInt("u64"), int64_t{1} << 62);
  EXPECT_EQ(*(*file)->GetInt("i64"), -5);
  EXPECT_EQ(*(*file)->GetFloat("f32"), 0.5);
  EXPECT_EQ(*(*file)->GetFloat("f64"), 0.1);
  EXPECT_TRUE(*(*file)->GetBool("yes"));
  EXPECT_FALSE(*(*file)->GetBool("no"));
  EXPECT_EQ(*(*file)->GetString("text"), "grüße");
}

TEST(Gguf, ReadsArrays) {
  GgufBuilder builder;
  builder.SetStrings("words", {"a", "", "bc"}).SetInts("types", {1, -3});
  GgufBytes bools;
  bools.Put<uint32_t>(slimfill::testing::kGgufBool).Put<uint64_t>(2).Put<uint8_t>(1).Put<uint8_t>(0);
  builder.SetRaw("flags", slimfill::testing::kGgufArray, bools);
  const std::vector<std::byte> bytes = builder.Build();
  const auto file = Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(**(*file)->GetStrings("words"), ElementsAre("a", "", "bc"));
  EXPECT_THAT(**(*file)->GetInts("types"), ElementsAre(1, -3));
  EXPECT_THAT(**(*file)->GetInts("flags"), ElementsAre(1, 0));
}

TEST(Gguf, HonoursGeneralAlignment) {
  GgufBuilder builder;
  builder.alignment = 4096;
  builder.SetInt("general.alignment", 4096).AddF32("a", {4}, kFour).AddF32("b", {4}, kFour);
  const std::vector<std::byte> bytes = builder.Build();
  const auto file = Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(std::memcmp((*file)->FindTensor("b")->bytes.data(), kFour.data(), 16), 0);
  EXPECT_EQ((*file)->FindTensor("b")->bytes.data() - bytes.data(), 8192);
}

TEST(Gguf, Sha256IsOfTheFilesBytesAndSafeToAskForAtOnce) {
  const std::vector<std::byte> bytes = GgufBuilder().Build();
  const auto file = Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  std::string other;
  std::thread thread([&] { other = (*file)->Sha256Hex(); });
  const std::string digest = (*file)->Sha256Hex();
  thread.join();
  // sha256 of "GGUF", the version 3 and two counts of 0.
  EXPECT_EQ(digest, "a4e5e156ddec27e286f75328784d7106b60a4eb1d246e950a001a3f944fbda99");
  EXPECT_EQ(other, digest);
}

// ---- Typed access ----

TEST(Gguf, MissingKeyIsNotFound) {
  const auto file = Parse(GgufBuilder().Build());
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->GetInt("k").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ((*file)->GetStrings("k").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string((*file)->GetInt("k").status().message()), HasSubstr("\"k\""));
}

TEST(Gguf, TypeConfusionIsRefused) {
  GgufBuilder builder;
  builder.SetInt("int", 1).SetFloat("float", 1).SetBool("bool", true).SetString("string", "1");
  builder.SetStrings("strings", {}).SetInts("ints", {});
  GgufBytes floats;
  floats.Put<uint32_t>(slimfill::testing::kGgufFloat32).Put<uint64_t>(1).Put(1.0f);
  builder.SetRaw("floats", slimfill::testing::kGgufArray, floats);
  const std::vector<std::byte> bytes = builder.Build();
  const auto file = Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  const std::vector<std::string> keys = {"int", "float", "bool", "string", "strings", "ints", "floats"};
  for (const std::string& key : keys) {
    const auto expect = [&](const absl::Status& status, const std::string& right_key) {
      EXPECT_EQ(status.code(), key == right_key ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument) << key;
    };
    expect((*file)->GetInt(key).status(), "int");
    expect((*file)->GetFloat(key).status(), "float");
    expect((*file)->GetBool(key).status(), "bool");
    expect((*file)->GetString(key).status(), "string");
    expect((*file)->GetStrings(key).status(), "strings");
    expect((*file)->GetInts(key).status(), "ints");
  }
}

TEST(Gguf, IntegerAboveInt64IsOutOfRange) {
  GgufBuilder builder;
  builder.SetRaw("big", slimfill::testing::kGgufUint64, GgufBytes().Put<uint64_t>(k2Pow63));
  const std::vector<std::byte> bytes = builder.Build();
  EXPECT_EQ((*Parse(bytes))->GetInt("big").status().code(), absl::StatusCode::kInvalidArgument);
}

// ---- The header ----

TEST(Gguf, RefusesOtherMagic) {
  GgufBuilder builder = OneTensor();
  builder.magic = 0x67676d6c;
  ExpectRefused(builder, "not a GGUF file");
}

TEST(Gguf, RefusesOtherVersions) {
  for (const uint32_t version : {0u, 1u, 4u, 0xffffffffu}) {
    GgufBuilder builder = OneTensor();
    builder.version = version;
    ExpectRefused(builder, "versions 2 and 3 are");
  }
}

TEST(Gguf, RefusesBigEndian) {
  GgufBuilder builder = OneTensor();
  builder.version = 3u << 24;
  ExpectRefused(builder, "big-endian");
}

// CVE-2024-23605: a key count whose allocation wraps around.
TEST(Gguf, RefusesKeyCountBeyondLimitOrFile) {
  GgufBuilder builder = OneTensor();
  for (const uint64_t count : {uint64_t{4097}, k2Pow62 - 1, k2Pow62, k2Pow63 - 1}) {
    builder.key_count = static_cast<int64_t>(count);
    ExpectRefused(builder, "metadata keys, the limit is 4096");
  }
  builder.key_count = 4096;
  ExpectRefused(builder, "key ");
}

TEST(Gguf, RefusesTensorCountBeyondLimitOrFile) {
  GgufBuilder builder = OneTensor();
  for (const uint64_t count : {uint64_t{65537}, k2Pow62, k2Pow63 - 1}) {
    builder.tensor_count = static_cast<int64_t>(count);
    ExpectRefused(builder, "tensors, the limit is 65536");
  }
  builder.tensor_count = 65536;
  ExpectRefused(builder, "tensor");
}

TEST(Gguf, RefusesCountsAbove2Pow63) {
  std::vector<std::byte> bytes = OneTensor().Build();
  for (const size_t offset : {8, 16}) {  // tensors, keys
    std::vector<std::byte> wrong = bytes;
    const uint64_t count = k2Pow63 + 1;
    std::memcpy(wrong.data() + offset, &count, sizeof(count));
    EXPECT_EQ(Parse(wrong).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(Gguf, RefusesFileTruncatedAtAnyByte) {
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

TEST(Gguf, RefusesDuplicateKey) {
  GgufBuilder builder;
  builder.SetInt("k", 1).SetInt("k", 1);
  ExpectRefused(builder, "\"k\" occurs twice");
}

TEST(Gguf, RefusesStringLongerThanLimitOrFile) {
  for (const uint64_t length : {uint64_t{4}, uint64_t{1} << 20, (uint64_t{1} << 20) + 1, k2Pow63, UINT64_MAX - 3}) {
    GgufBuilder builder;
    builder.SetRaw("k", slimfill::testing::kGgufString, GgufBytes().Put(length).Put<uint16_t>(0));
    ExpectRefused(builder, length > (1 << 20) ? "longer than the limit" : "ends early");
  }
}

TEST(Gguf, RefusesKeyLongerThanLimit) {
  GgufBuilder builder;
  builder.SetInt(std::string(65536, 'k'), 1);
  ExpectRefused(builder, "longer than the limit of 65535");
}

TEST(Gguf, RefusesUnknownValueType) {
  for (const uint32_t type : {13u, 0xffffffffu}) {
    GgufBuilder builder;
    builder.SetRaw("k", type, GgufBytes().Put<uint64_t>(0));
    ExpectRefused(builder, "is unknown");
  }
}

TEST(Gguf, RefusesBoolOtherThan0And1) {
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

TEST(Gguf, RefusesNestedArrays) { ExpectRefused(WithArray(slimfill::testing::kGgufArray, 1), "nested arrays"); }

TEST(Gguf, RefusesArrayOfUnknownType) {
  ExpectRefused(WithArray(13, 1), "element type");
  ExpectRefused(WithArray(0xffffffffu, 0), "element type");
}

// A count may not make the reader allocate more than the file could fill, nor wrap around when multiplied by a size.
TEST(Gguf, RefusesArrayCountBeyondLimitOrFile) {
  for (uint32_t type = 0; type <= slimfill::testing::kGgufFloat64; ++type) {
    if (type == slimfill::testing::kGgufArray) continue;
    for (const uint64_t count : {uint64_t{17}, uint64_t{1} << 24}) ExpectRefused(WithArray(type, count), "bytes left");
    for (const uint64_t count : {(uint64_t{1} << 24) + 1, uint64_t{1} << 61, k2Pow62 + 1, k2Pow63 + 2, UINT64_MAX}) {
      ExpectRefused(WithArray(type, count), "longer than the limit");
    }
  }
}

TEST(Gguf, RefusesArrayElementAboveInt64) {
  GgufBuilder builder;
  GgufBytes array;
  array.Put<uint32_t>(slimfill::testing::kGgufUint64).Put<uint64_t>(2).Put<uint64_t>(1).Put<uint64_t>(k2Pow63);
  builder.SetRaw("k", slimfill::testing::kGgufArray, array);
  ExpectRefused(builder, "element 1 is 9223372036854775808");
}

TEST(Gguf, LimitsAreTheCallers) {
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

TEST(Gguf, NamesInErrorsAreEscapedAndShort) {
  GgufBuilder builder;
  const std::string key = "a\n\x1b" + std::string(1000, 'x');
  builder.SetInt(key, 1).SetInt(key, 1);
  const std::string message(Parse(builder.Build()).status().message());
  EXPECT_THAT(message, HasSubstr("a\\n\\x1b"));
  EXPECT_LT(message.size(), 200u);
}

// ---- Alignment ----

TEST(Gguf, RefusesAlignmentThatIsNoPowerOfTwoWithinTheLimit) {
  for (const uint32_t alignment : {0u, 1u, 4u, 24u, 33u, 131072u, 0x80000000u, 0xffffffffu}) {
    GgufBuilder builder = OneTensor();
    builder.SetInt("general.alignment", alignment);
    ExpectRefused(builder, "power of two from 8 to 65536");
  }
}

TEST(Gguf, RefusesAlignmentOfAnotherType) {
  GgufBuilder builder = OneTensor();
  builder.SetFloat("general.alignment", 32);
  ExpectRefused(builder, "not an unsigned integer");
}

TEST(Gguf, RefusesOffsetThatIsNotAligned) {
  GgufBuilder builder = TwoTensors();
  builder.tensors()[1].offset += 8;
  ExpectRefused(builder, "not a multiple of the alignment 32");
}

// ---- Tensors ----

TEST(Gguf, RefusesDuplicateTensor) {
  GgufBuilder builder = TwoTensors();
  builder.tensors()[1].name = "a";
  ExpectRefused(builder, "\"a\" occurs twice");
}

TEST(Gguf, RefusesTensorNameLongerThanTheFormatAllows) {
  GgufBuilder builder = OneTensor();
  builder.tensors()[0].name = std::string(65, 't');
  ExpectRefused(builder, "longer than the limit of 64");
}

TEST(Gguf, RefusesTypesItCannotRead) {
  for (const uint32_t type : {4u, 5u, 9u, 10u, 11u, 15u, 20u, 24u, 31u, 0x80000000u, 0xffffffffu}) {
    GgufBuilder builder = OneTensor();
    builder.tensors()[0].type = type;
    ExpectRefused(builder, "is not supported: use a file in F32");
  }
}

TEST(Gguf, RefusesZeroAndTooManyDimensions) {
  GgufBuilder builder = OneTensor();
  builder.tensors()[0].shape = {};
  ExpectRefused(builder, "0 dimensions");
  builder.tensors()[0].shape = {1, 1, 1, 1, 1};
  ExpectRefused(builder, "5 dimensions");
}

TEST(Gguf, RefusesDimensionOfZero) {
  for (size_t i = 0; i < 2; ++i) {
    GgufBuilder builder = OneTensor();
    builder.tensors()[0].shape[i] = 0;
    ExpectRefused(builder, "is 0");
  }
}

// CVE-2024-21802 and CVE-2025-53630: element counts and byte counts that wrap around to small ones.
TEST(Gguf, RefusesShapesWhoseElementCountOverflows) {
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
TEST(Gguf, RefusesShapesWhoseByteCountOverflows) {
  for (const std::vector<uint64_t>& shape : {std::vector<uint64_t>{k2Pow62}, {k2Pow62 + 4}, {4, k2Pow62 / 4 + 1}}) {
    GgufBuilder builder = OneTensor();
    builder.tensors()[0].shape = shape;
    ExpectRefused(builder, "makes the byte count overflow");
  }
}

TEST(Gguf, RefusesShapesOfHugeByteCountThatDoesNotOverflow) {
  // 2^61 quantised elements are 1.1 x 2^61 bytes; 2^63 - 32 are 1.06 x 2^63: each is just too large for the file.
  for (const uint64_t columns : {k2Pow62 / 2, k2Pow63 - 32}) {
    GgufBuilder builder = OneTensor();
    builder.tensors()[0].type = static_cast<uint32_t>(GgmlType::kQ8_0);
    builder.tensors()[0].shape = {columns};
    ExpectRefused(builder, "the file is cut off");
  }
}

TEST(Gguf, RefusesColumnsThatAreNoWholeBlocks) {
  GgufBuilder builder = OneTensor();
  builder.tensors()[0].type = static_cast<uint32_t>(GgmlType::kQ4_0);
  builder.tensors()[0].shape = {16, 2};
  ExpectRefused(builder, "16 columns are not a multiple of the 32 elements of a Q4_0 block");
  builder.tensors()[0].type = static_cast<uint32_t>(GgmlType::kQ4_K);
  builder.tensors()[0].shape = {128, 2};
  ExpectRefused(builder, "multiple of the 256 elements of a Q4_K block");
}

TEST(Gguf, RefusesTensorPastEndOfFile) {
  GgufBuilder builder = TwoTensors();
  builder.tensors()[1].shape = {5};
  ExpectRefused(builder, "\"b\" needs 20 bytes");
}

// Offsets whose sum with the size, or with the start of the data, wraps around.
TEST(Gguf, RefusesOffsetPastEndOfFile) {
  for (const uint64_t offset : {uint64_t{64}, k2Pow62, k2Pow63, UINT64_MAX - 31}) {
    GgufBuilder builder = TwoTensors();
    builder.tensors()[1].offset = offset;
    ExpectRefused(builder, "the file is cut off");
  }
}

TEST(Gguf, RefusesFileThatEndsInThePadBeforeItsTensors) {
  GgufBuilder builder = OneTensor();
  builder.SetInt("general.alignment", 65536);
  ExpectRefused(builder, "ends before its tensors");
}

TEST(Gguf, RefusesOverlappingTensors) {
  GgufBuilder builder;
  const std::vector<float> sixteen(16, 1.0f);
  builder.AddF32("a", {16}, sixteen).AddF32("b", {4}, kFour).AddF32("c", {4}, kFour);
  ASSERT_TRUE(Parse(builder.Build()).ok());
  builder.tensors()[1].offset = 32;
  ExpectRefused(builder, "\"a\" and \"b\" overlap");
  builder.tensors()[1].offset = builder.tensors()[2].offset;
  ExpectRefused(builder, "overlap");
}

TEST(Gguf, TensorsMayLieInAnyOrderWithGaps) {
  GgufBuilder builder = TwoTensors();
  std::swap(builder.tensors()[0].offset, builder.tensors()[1].offset);
  const std::vector<std::byte> bytes = builder.Build();
  const auto file = Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_GT((*file)->FindTensor("a")->bytes.data(), (*file)->FindTensor("b")->bytes.data());
}

// ---- Files ----

TEST(GgufOpen, MapsAFile) {
  const std::string path = slimfill::testing::WriteTemporaryFile("open.gguf", OneTensor().Build());
  const auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->name(), path);
  EXPECT_EQ(std::memcmp((*file)->FindTensor("t")->bytes.data(), kFour.data(), 16), 0);
  std::remove(path.c_str());
}

TEST(GgufOpen, MissingFileIsNotFound) {
  const absl::Status status = GgufFile::Open(::testing::TempDir() + "no-such.gguf").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no-such.gguf"));
}

TEST(GgufOpen, RefusesWhatIsNoRegularFile) {
  EXPECT_EQ(GgufFile::Open(::testing::TempDir()).status().code(), absl::StatusCode::kInvalidArgument);
  const std::string pipe = ::testing::TempDir() + "slimfill-pipe-" + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(GgufFile::Open(pipe).status().code(), absl::StatusCode::kInvalidArgument);
  std::remove(pipe.c_str());
}

TEST(GgufOpen, RefusesEmptyFile) {
  const std::string path = slimfill::testing::WriteTemporaryFile("empty.gguf", {});
  const absl::Status status = GgufFile::Open(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("empty"));
  std::remove(path.c_str());
}

}  // namespace
}  // namespace slimfill::engine
