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
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::unique_ptr<GgufFile>> Parse(const std::vector<std::byte>& bytes) {
  return GgufFile::Parse(bytes, "test.gguf");
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
    const StoredTensor* tensor = (*file)->FindTensor("t");
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
  builder.SetRaw("u64", slimfill::testing::kGgufUint64, GgufBytes().Put<uint64_t>(uint64_t{1} << 62));
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
  builder.SetRaw("big", slimfill::testing::kGgufUint64, GgufBytes().Put<uint64_t>(uint64_t{1} << 63));
  const std::vector<std::byte> bytes = builder.Build();
  EXPECT_EQ((*Parse(bytes))->GetInt("big").status().code(), absl::StatusCode::kInvalidArgument);
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
