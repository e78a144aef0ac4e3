// What the CUDA backend does beside the ops themselves: stored rows of every type, failures, memory, overlap.
#include "engine/ops/cuda/cuda_backend.h"

#include <cmath>
#include <cstring>

#include "engine/model/dequantize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cusim/faults.h"
#include "tests/cusim/memory.h"
#include "tests/cusim/schedule.h"
#include "tests/engine/ops/ops_test_util.h"

namespace slimfill::engine::cuda {
namespace {

using ::testing::HasSubstr;

class CudaBackendTest : public ::testing::Test {
 protected:
  CudaBackendTest() : schedule_(cusim::CurrentSchedule()) {}
  ~CudaBackendTest() override {
    cusim::ClearFaults();
    cusim::SetSchedule(schedule_);
  }
  static std::unique_ptr<Backend> MakeBackend() {
    auto backend = CudaBackend::Create({.scratch_bytes = 4 << 20});
    EXPECT_TRUE(backend.ok()) << backend.status();
    return *std::move(backend);
  }

 private:
  const cusim::Schedule schedule_;
};

constexpr GgmlType kTypes[] = {GgmlType::kF32,  GgmlType::kF16,  GgmlType::kBF16, GgmlType::kQ4_0,
                               GgmlType::kQ4_1, GgmlType::kQ5_0, GgmlType::kQ5_1, GgmlType::kQ8_0,
                               GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K};

// Rows of random bytes: every bit pattern of scales and values comes up, infinities and NaN among them.
TEST_F(CudaBackendTest, DequantisesEveryTypeToTheBitsOfTheHost) {
  const auto backend = MakeBackend();
  std::mt19937 random(5);
  for (const GgmlType type : kTypes) {
    constexpr int64_t kRows = 40, kCols = 512;
    const int64_t row_bytes = kCols / GgmlBlockElements(type) * GgmlBlockBytes(type);
    std::vector<std::byte> bytes(kRows * row_bytes);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    StoredTensor tensor{.name = "test", .type = type, .shape = {kCols, kRows}, .bytes = bytes};
    std::vector<TokenId> tokens;
    for (int i = 0; i < 100; ++i) tokens.push_back(static_cast<TokenId>(random() % kRows));
    TestMatrix out(*backend, DType::kF32, 100, kCols);
    backend->EmbedRows(WeightMatrix({WeightMatrix::Part{&tensor}}), tokens, out.view());
    const std::vector<float> got = out.Read();
    std::vector<float> want(kCols);
    for (int i = 0; i < 100; ++i) {
      DequantizeRow(type, absl::MakeConstSpan(bytes).subspan(tokens[i] * row_bytes, row_bytes), absl::MakeSpan(want));
      for (int64_t j = 0; j < kCols; ++j) {
        const float value = got[i * kCols + j];
        ASSERT_TRUE(std::memcmp(&value, &want[j], 4) == 0 || (std::isnan(value) && std::isnan(want[j])))
            << GgmlTypeName(type) << " row " << tokens[i] << " column " << j << ": " << value << ", not " << want[j];
      }
    }
  }
}

TEST_F(CudaBackendTest, PacksPartsOfSeveralTypesWithInterleavedHeads) {
  const auto backend = MakeBackend();
  std::mt19937 random(6);
  const auto values = [&](int64_t count) {
    std::vector<uint16_t> halves(count);
    for (uint16_t& half : halves) half = static_cast<uint16_t>(0x3000 + random() % 0x0c00);  // F16, 0.125 to 1
    return halves;
  };
  const std::vector<uint16_t> upper = values(32 * 64), lower = values(50 * 64);
  const auto bytes_of = [](const std::vector<uint16_t>& v) {
    return absl::MakeConstSpan(reinterpret_cast<const std::byte*>(v.data()), v.size() * 2);
  };
  const StoredTensor first{.name = "q", .type = GgmlType::kF16, .shape = {64, 32}, .bytes = bytes_of(upper)};
  const StoredTensor second{.name = "v", .type = GgmlType::kBF16, .shape = {64, 50}, .bytes = bytes_of(lower)};
  const WeightMatrix matrix({{&first, 16}, {&second}});
  const auto packed = *backend->PackWeight(matrix);
  std::vector<float> identity(64 * 64, 0.0f);
  for (int i = 0; i < 64; ++i) identity[i * 64 + i] = 1;
  TestMatrix x(*backend, DType::kBF16, 64, 64, identity), out(*backend, DType::kF32, 64, 82);
  backend->Gemm(x.view(), *packed, nullptr, GemmMode::kStore, out.view());
  const std::vector<float> got = out.Read();
  for (int64_t row = 0; row < 82; ++row) {
    std::vector<float> want(64);
    matrix.ReadRow(row, absl::MakeSpan(want));
    for (int64_t j = 0; j < 64; ++j) EXPECT_EQ(got[j * 82 + row], Bf16ToFloat(FloatToBf16(want[j])));
  }
}

TEST_F(CudaBackendTest, AMachineWithoutAGpuIsToldWhatToDo) {
  for (const cudaError_t error : {cudaErrorInsufficientDriver, cudaErrorNoDevice}) {
    cusim::InjectFault("cudaGetDeviceCount", error, 0, /*sticky=*/false);
    const auto backend = CudaBackend::Create({});
    EXPECT_EQ(backend.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(backend.status().message()), HasSubstr("driver"));
    EXPECT_THAT(std::string(backend.status().message()), HasSubstr("--backend=cpu"));
  }
}

TEST_F(CudaBackendTest, AFullGpuSaysHowMuchIsMissingAndWhichFlagHelps) {
  const auto backend = MakeBackend();
  const size_t total = cusim::TotalDeviceBytes();
  cusim::SetTotalDeviceBytes(total - cusim::FreeDeviceBytes() + (10 << 20));
  EXPECT_EQ(backend->FreeBytes(), 10 << 20);
  const auto buffer = backend->Allocate(30 << 20);
  EXPECT_EQ(buffer.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(buffer.status().message()), HasSubstr("30 MiB"));
  EXPECT_THAT(std::string(buffer.status().message()), HasSubstr("only 10 MiB"));
  EXPECT_THAT(std::string(buffer.status().message()), HasSubstr("--kv-pages-memory"));
  EXPECT_TRUE(backend->Allocate(9 << 20).ok()) << "what was refused broke nothing";
  EXPECT_TRUE(backend->Finish().ok());
  cusim::SetTotalDeviceBytes(total);
}

TEST_F(CudaBackendTest, ABackendThatDoesNotFitGivesBackWhatItTook) {
  const size_t free = cusim::FreeDeviceBytes(), total = cusim::TotalDeviceBytes();
  cusim::SetTotalDeviceBytes(total - free + (40 << 20));
  EXPECT_EQ(CudaBackend::Create({.scratch_bytes = 64 << 20}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(CudaBackend::Create({.scratch_bytes = 4 << 20}).ok());
  cusim::SetTotalDeviceBytes(total);
  EXPECT_EQ(cusim::FreeDeviceBytes(), free);
}

TEST_F(CudaBackendTest, ManyRowsLookBackInPiecesThatFit) {
  const AttentionShape shape{2, 1, 16};
  const std::vector<int32_t> blocks = {0, 1, 2, 3, 4, 5, 6};
  const std::vector<int32_t> positions = PositionsOf(blocks, 7 * 64 - 1);
  const auto count = static_cast<int64_t>(positions.size());
  std::vector<std::vector<FarLook>> looks;
  for (const int64_t scratch_bytes : {16 << 10, 4 << 20}) {  // 256 rows' positions an upload, or all
    const auto backend = *CudaBackend::Create({.scratch_bytes = scratch_bytes});
    Random random(10);
    TestKv kv(*backend, shape, blocks);
    for (const int32_t block : blocks) {
      const std::vector<float> keys = random.Values(64 * shape.kv_cols(), 2);
      kv.Append({positions.begin() + block * 64, positions.begin() + (block + 1) * 64}, keys, keys);
    }
    const TestMatrix q(*backend, DType::kBF16, count, shape.q_cols(), random.Values(count * shape.q_cols(), 2));
    looks.emplace_back(count * 2);
    backend->LookBack(q.view(), positions, {1, 0}, shape, kv.view(), absl::MakeSpan(looks.back()));
    EXPECT_TRUE(backend->Finish().ok());
  }
  EXPECT_GE(looks[0].back().unit, kFirstFarUnit);
  EXPECT_EQ(looks[0], looks[1]);
}

// Scores of a prompt whose pages' table, 16 bytes a block, is longer than what one op may upload.
TEST_F(CudaBackendTest, APromptTooLongForScoresFailsAndNamesTheFlag) {
  for (const bool look_back : {false, true}) {
    const auto backend = *CudaBackend::Create({.scratch_bytes = 16 << 10});  // 1 KiB an upload
    const AttentionShape shape{1, 1, 16};
    const TestKv one(*backend, shape, {0});
    std::vector<KvBlock> blocks(65, one.view()[0]);
    for (int32_t i = 0; i < 65; ++i) blocks[i].block = i;
    const std::vector<int32_t> positions = {64 * 64};
    const std::vector<int> heads = {0};
    std::vector<float> q(16), masses(65 * 8);
    const TestMatrix queries(*backend, DType::kBF16, 1, 16, q);
    std::vector<FarLook> looks(1, FarLook{.unit = 3, .mass = 1});
    if (look_back) {
      backend->LookBack(queries.view(), positions, heads, shape, blocks, absl::MakeSpan(looks));
      EXPECT_EQ(looks[0], FarLook());
    } else {
      backend->AttentionMass({.q = q, .positions = positions, .heads = heads, .end_position = 65 * 64}, shape, blocks,
                             absl::MakeSpan(masses));
    }
    EXPECT_EQ(backend->Health().code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(backend->Health().message()), HasSubstr("lower --max-context"));
  }
}

#if !defined(__SANITIZE_THREAD__)  // these two look at what is still being written, which it rightly calls a race

// After the first failure every op still returns, results are worthless, and whoever asks is told.
TEST_F(CudaBackendTest, AStickyErrorShowsInHealthAndStopsNothing) {
  for (const char* function : {"cudaLaunchKernelEx", "cudaMemcpyAsync", "cudaStreamSynchronize", "cublasLtMatmul"}) {
    cusim::ClearFaults();
    auto backend = MakeBackend();
    Random random(9);
    const TestWeight weight(8, 16, random.Values(8 * 16));
    const auto packed = *backend->PackWeight(weight.matrix());
    TestMatrix x(*backend, DType::kBF16, 2, 16, random.Values(32)), out(*backend, DType::kF32, 2, 8);
    const auto norm = *backend->Upload(std::vector<float>(8, 1.0f));
    TestMatrix normed(*backend, DType::kBF16, 2, 8);
    ASSERT_TRUE(backend->Finish().ok());
    cusim::InjectFault(function, cudaErrorIllegalAddress, 0, /*sticky=*/true);
    backend->Gemm(x.view(), *packed, nullptr, GemmMode::kStore, out.view());
    backend->RmsNorm(out.view(), *norm, 1e-6f, normed.view());
    std::vector<float> host(16);
    backend->ReadRows(out.view(), absl::MakeSpan(host));
    std::vector<std::byte> bytes(32);
    backend->ReadPage(static_cast<const std::byte*>(norm->data()), absl::MakeSpan(bytes));
    EXPECT_EQ(backend->Finish().code(), absl::StatusCode::kInternal) << function;
    EXPECT_THAT(std::string(backend->Health().message()), HasSubstr("start again")) << function;
    std::vector<std::byte> page(64);
    const absl::Span<const std::byte> source(static_cast<const std::byte*>(norm->data()), 32);
    const auto pending = backend->BeginRead({source}, absl::MakeSpan(page));
    EXPECT_EQ(pending->Wait().code(), absl::StatusCode::kInternal) << function;
    cusim::ClearFaults();
  }
}

// A page swapped in does not hold up ops that do not read it, and is there for those that do: with lazy streams,
// nothing that an op does not wait for has happened.
TEST_F(CudaBackendTest, SwapsInBesideOpsThatDoNotReadThePage) {
  cusim::Schedule schedule;
  schedule.streams = cusim::Schedule::Streams::kLazy;
  cusim::SetSchedule(schedule);
  const auto backend = MakeBackend();
  const auto page = *backend->Allocate(4096);
  TestMatrix x(*backend, DType::kF32, 1, 64, std::vector<float>(64, 2.0f)), out(*backend, DType::kBF16, 1, 64);
  const auto norm = *backend->Upload(std::vector<float>(64, 1.0f));
  auto* data = static_cast<std::byte*>(page->data());
  backend->RmsNorm(x.view(), *norm, 0, out.view());
  ASSERT_TRUE(backend->Finish().ok());  // the page's own zeroing is through, and x has arrived
  backend->WritePage(std::vector<std::byte>(4096, std::byte{7}), data);
  backend->RmsNorm(x.view(), *norm, 0, out.view());
  ASSERT_TRUE(backend->Finish().ok());  // waits for the op alone
  EXPECT_EQ(data[0], std::byte{0}) << "the copy is still on its way";
  std::vector<float> row(1024);
  backend->ReadRows(page->As(DType::kF32, 1, 1024), absl::MakeSpan(row));
  EXPECT_EQ(data[4095], std::byte{7});
}

#endif

}  // namespace
}  // namespace slimfill::engine::cuda
