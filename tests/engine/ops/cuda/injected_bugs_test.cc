// Bugs put into the backend as it runs: every line that orders memory, in kernels and on the host, is left out in turn,
// and some schedule has to show it by a wrong result. The table in docs/cuda.md names these tests.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "engine/ops/cuda/cuda_backend.h"
#include "gtest/gtest.h"
#include "tests/cusim/omissions.h"
#include "tests/cusim/schedule.h"
#include "tests/engine/ops/ops_test_util.h"

#if !defined(__SANITIZE_THREAD__)  // which reports every one of them as a race before a result is seen

namespace slimfill::engine::cuda {
namespace {

using cusim::Schedule;
using cusim::SyncPlace;

// While it lives, the bug is there. Memory that was taken before it is given back soundly.
class Bug {
 public:
  explicit Bug(const std::function<void()>& begin) { begin(); }
  ~Bug() {
    cusim::LeaveOutNothing();
    cudaDeviceSynchronize();
  }
  Bug(const Bug&) = delete;
  Bug& operator=(const Bug&) = delete;
};

// Runs something on a backend and returns what came out. Calls `begin` when all is set up.
using Scene = std::function<std::vector<float>(Backend& backend, const std::function<void()>& begin)>;

constexpr int kSeeds = 12;
constexpr int64_t kScratchBytes = 64 << 10;  // little: rings wrap soon

class InjectedBugsTest : public ::testing::Test {
 protected:
  InjectedBugsTest() : schedule_(cusim::CurrentSchedule()) { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
  ~InjectedBugsTest() override {
    cusim::LeaveOutNothing();
    cusim::SetSchedule(schedule_);
  }

  std::unique_ptr<Backend> MakeBackend() {
    auto backend = CudaBackend::Create({.scratch_bytes = scratch_bytes_});
    EXPECT_TRUE(backend.ok()) << backend.status();
    return *std::move(backend);
  }

  int64_t scratch_bytes_ = kScratchBytes;

  // Lazy streams show a wait that is missing before a use; random ones also that a use comes too early.
  static void UseSchedule(int seed) {
    Schedule schedule;
    schedule.seed = static_cast<uint64_t>(seed);
    schedule.streams = seed % 2 == 1 ? Schedule::Streams::kLazy : Schedule::Streams::kRandom;
    cusim::SetSchedule(schedule);
  }

  std::vector<float> RunScene(const Scene& scene, int seed, const std::function<void()>& begin) {
    UseSchedule(seed);
    const auto backend = MakeBackend();
    const std::vector<float> result = scene(*backend, [&] {
      cudaDeviceSynchronize();
      EXPECT_TRUE(backend->Finish().ok());
      begin();
    });
    EXPECT_TRUE(backend->Finish().ok());
    return result;
  }

  // The places that the scene passes and whose name `wanted` accepts.
  std::vector<SyncPlace> Places(const Scene& scene, const std::function<bool(const SyncPlace&)>& wanted) {
    RunScene(scene, 1, &cusim::NotePlaces);
    std::vector<SyncPlace> places;
    for (const SyncPlace& place : cusim::NotedPlaces()) {
      if (wanted(place)) places.push_back(place);
    }
    return places;
  }

  // No schedule changes the result of the sound code; each place that is left out changes it under some schedule.
  void ExpectEveryPlaceIsMissed(const Scene& scene, const std::vector<SyncPlace>& places) {
    const std::vector<float> want = RunScene(scene, 1, [] {});
    const auto is_right = [&](const std::vector<float>& got) {
      return got.size() == want.size() && std::memcmp(got.data(), want.data(), got.size() * sizeof(float)) == 0;
    };
    for (int seed = 2; seed <= kSeeds; ++seed) EXPECT_TRUE(is_right(RunScene(scene, seed, [] {}))) << "seed " << seed;
    for (const SyncPlace& place : places) {
      int seed = 1;
      while (seed <= kSeeds && is_right(RunScene(scene, seed, [&] { cusim::LeaveOut(place); }))) ++seed;
      EXPECT_LE(seed, kSeeds) << "nobody misses " << place.what << ", " << place.number;
    }
  }

  void CheckKernel(const Scene& scene, size_t barriers, size_t copy_waits) {
    const auto in_kernel = [](const SyncPlace& place) { return place.what.find(" in ") != std::string::npos; };
    const std::vector<SyncPlace> places = Places(scene, in_kernel);
    size_t waits = 0;
    for (const SyncPlace& place : places) waits += place.what.rfind("cp.async", 0) == 0 ? 1 : 0;
    EXPECT_EQ(waits, copy_waits);
    EXPECT_EQ(places.size() - waits, barriers);
    ExpectEveryPlaceIsMissed(scene, places);
  }

  // At least `count` calls of `function` order what the scene needs, and every one is missed.
  void CheckHost(const Scene& scene, const char* function, size_t count) {
    const std::vector<SyncPlace> places = Places(scene, [&](const SyncPlace& place) { return place.what == function; });
    EXPECT_GE(places.size(), count) << function;
    ExpectEveryPlaceIsMissed(scene, places);
  }

 private:
  const Schedule schedule_;
};

std::vector<float> ReadBytes(Backend& backend, const Buffer& buffer) {
  std::vector<float> values(buffer.bytes() / sizeof(float));
  backend.ReadPage(static_cast<const std::byte*>(buffer.data()),
                   absl::MakeSpan(reinterpret_cast<std::byte*>(values.data()), values.size() * sizeof(float)));
  return values;
}

// ---- Kernels: barriers of blocks and warps, waits for cp.async ----

// Keys and values of four pages, ready to be attended to.
struct AttentionData {
  AttentionData(Backend& backend, const AttentionShape& s, int64_t rows)
      : shape(s),
        random(7),
        kv(backend, shape, blocks),
        q(backend, DType::kBF16, rows, shape.q_cols(), random.Values(rows * shape.q_cols())),
        out(backend, DType::kBF16, rows, shape.q_cols()) {
    const std::vector<int32_t> all = PositionsOf(blocks, 255);
    const int64_t count = static_cast<int64_t>(all.size()) * shape.kv_cols();
    kv.Append(all, random.Values(count), random.Values(count));
    for (int64_t i = 0; i < rows; ++i) positions.push_back(static_cast<int32_t>(256 - rows + i));
  }
  const AttentionShape shape;
  const std::vector<int32_t> blocks = {0, 1, 2, 3};
  Random random;
  TestKv kv;
  TestMatrix q, out;
  std::vector<int32_t> positions;
};

TEST_F(InjectedBugsTest, FlashAttention) {
  CheckKernel(
      [](Backend& backend, const auto& begin) {
        const AttentionData data(backend, {1, 1, 32}, 40);
        const Bug bug(begin);
        backend.Attention(data.q.view(), data.positions, data.shape, data.kv.view(), data.out.view());
        return data.out.Read();
      },
      2, 1);
}

TEST_F(InjectedBugsTest, DecodeAttention) {
  CheckKernel(
      [](Backend& backend, const auto& begin) {
        const AttentionData data(backend, {3, 1, 32}, 1);
        const Bug bug(begin);
        backend.AttentionDecode(data.q.view(), data.positions, data.shape, {data.kv.view()}, data.out.view());
        return data.out.Read();
      },
      3, 1);
}

TEST_F(InjectedBugsTest, AttentionMass) {
  CheckKernel(
      [](Backend& backend, const auto& begin) {
        AttentionData data(backend, {1, 1, 32}, 20);
        const std::vector<float> q = data.random.Values(20 * data.shape.q_cols());
        const std::vector<int> heads = {0};
        std::vector<float> out(data.blocks.size() * 8);
        const Bug bug(begin);
        backend.AttentionMass(
            {.q = q, .positions = data.positions, .heads = heads, .end_position = 256, .unit_tokens = 8}, data.shape,
            data.kv.view(), absl::MakeSpan(out));
        return out;
      },
      3, 1);
}

TEST_F(InjectedBugsTest, LookBack) {
  CheckKernel(
      [](Backend& backend, const auto& begin) {
        const AttentionData data(backend, {1, 1, 32}, 40);
        std::vector<FarLook> looks(40);
        const Bug bug(begin);
        backend.LookBack(data.q.view(), data.positions, {0}, data.shape, data.kv.view(), absl::MakeSpan(looks));
        std::vector<float> out;
        for (const FarLook& look : looks) {
          out.push_back(static_cast<float>(look.unit));
          out.push_back(look.mass);
        }
        return out;
      },
      1, 1);
}

TEST_F(InjectedBugsTest, RmsNorm) {
  CheckKernel(
      [](Backend& backend, const auto& begin) {
        Random random(8);
        const TestMatrix x(backend, DType::kF32, 2, 300, random.Values(600)), out(backend, DType::kBF16, 2, 300);
        const auto weight = *backend.Upload(random.Values(300));
        const Bug bug(begin);
        backend.RmsNorm(x.view(), *weight, 1e-6f, out.view());
        return out.Read();
      },
      1, 0);
}

TEST_F(InjectedBugsTest, ArgmaxRows) {
  CheckKernel(
      [](Backend& backend, const auto& begin) {
        Random random(9);
        std::vector<float> values = random.Values(600);
        values[290] = values[300 + 290] = 2;  // seen by the last warp
        const TestMatrix x(backend, DType::kF32, 2, 300, values);
        std::vector<TokenId> best(2);
        const Bug bug(begin);
        backend.ArgmaxRows(x.view(), absl::MakeSpan(best));
        return std::vector<float>(best.begin(), best.end());
      },
      1, 0);
}

TEST_F(InjectedBugsTest, TopRows) {
  CheckKernel(
      [](Backend& backend, const auto& begin) {
        Random random(10);
        const TestMatrix x(backend, DType::kF32, 1, 2500, random.Values(2500));
        const Bug bug(begin);
        const RowTops tops = backend.TopRows(x.view(), 20, {1.0f});
        std::vector<float> all = tops.values;
        all.insert(all.end(), tops.indices.begin(), tops.indices.end());
        all.push_back(tops.masses[0]);
        return all;
      },
      4, 0);
}

TEST_F(InjectedBugsTest, ListRows) {
  CheckKernel(
      [](Backend& backend, const auto& begin) {
        constexpr int kRows = 9000;  // more bits than a thread block takes at once
        Random random(11);
        const TestMatrix x(backend, DType::kF32, kRows, 1, random.Values(kRows));
        std::vector<int32_t> rows;
        for (int i = 0; i < kRows; i += 1 + i % 97) rows.push_back(i);
        // In place: then the list is not at the beginning of its memory, and wrong counts, which may be negative, write
        // a wrong list instead of trapping.
        const Bug bug(begin);
        backend.GatherRows(x.view(), rows, x.view().Rows(0, static_cast<int64_t>(rows.size())));
        return x.Read();
      },
      2, 0);
}

// ---- The host: streams that do not wait for each other, buffers used again too early ----

constexpr int64_t kPageBytes = 1024;

// A page, and an op that turns it into another: bf16 of its values over their mean square.
struct PageAndOp {
  explicit PageAndOp(Backend& b)
      : backend(b), page(*b.Allocate(kPageBytes)), result(*b.Allocate(kPageBytes)), weight(*b.Upload(Ones())) {
    Write(1);
  }
  static std::vector<float> Ones() { return std::vector<float>(kPageBytes / sizeof(float), 1.0f); }
  std::byte* bytes() const { return static_cast<std::byte*>(page->data()); }
  void Write(float value) const {
    std::vector<float> values(kPageBytes / sizeof(float));
    for (size_t i = 0; i < values.size(); ++i) values[i] = value + static_cast<float>(i);
    backend.WritePage(absl::MakeConstSpan(reinterpret_cast<const std::byte*>(values.data()), kPageBytes), bytes());
  }
  std::unique_ptr<PendingRead> BeginRead(std::vector<float>& to) const {
    to.resize(kPageBytes / sizeof(float));
    const absl::Span<const std::byte> source(bytes(), kPageBytes);
    return backend.BeginRead({source}, absl::MakeSpan(reinterpret_cast<std::byte*>(to.data()), kPageBytes));
  }
  // The page as it was read, while `body` goes on with it.
  template <typename Body>
  std::vector<float> ReadWhile(const Body& body) const {
    std::vector<float> read;
    const auto pending = BeginRead(read);
    body();
    EXPECT_TRUE(backend.Finish().ok());
    EXPECT_TRUE(pending->Wait().ok());
    return read;
  }
  void Run() const {
    const int64_t cols = kPageBytes / sizeof(float);
    backend.RmsNorm(page->As(DType::kF32, 1, cols), *weight, 0, result->As(DType::kBF16, 1, cols));
  }
  // What the op made of the page.
  std::vector<float> Result() const { return ReadBytes(backend, *result); }

  Backend& backend;
  const std::unique_ptr<Buffer> page, result, weight;
};

TEST_F(InjectedBugsTest, AnOpWaitsForThePageItReads) {
  CheckHost(
      [](Backend& backend, const auto& begin) {
        const PageAndOp scene(backend);
        const Bug bug(begin);
        scene.Write(5);
        scene.Run();
        return scene.Result();
      },
      "cudaStreamWaitEvent", 2);  // the op for the page, the read for the op
}

TEST_F(InjectedBugsTest, APageArrivesOnlyAfterOpsThatReadTheOldOne) {
  CheckHost(
      [](Backend& backend, const auto& begin) {
        const PageAndOp scene(backend);
        const Bug bug(begin);
        scene.Run();
        scene.Write(5);
        return scene.Result();
      },
      "cudaStreamWaitEvent", 2);
}

TEST_F(InjectedBugsTest, AnOpDoesNotOverwriteWhatIsBeingRead) {
  CheckHost(
      [](Backend& backend, const auto& begin) {
        const PageAndOp scene(backend);
        const Bug bug(begin);
        return scene.ReadWhile([&] { backend.ZeroPage(scene.bytes(), kPageBytes); });
      },
      "cudaStreamWaitEvent", 1);
}

TEST_F(InjectedBugsTest, APageArrivesOnlyAfterTheOldOneIsRead) {
  CheckHost(
      [](Backend& backend, const auto& begin) {
        const PageAndOp scene(backend);
        const Bug bug(begin);
        std::vector<float> read = scene.ReadWhile([&] {
          scene.Write(5);
          scene.Run();
        });
        const std::vector<float> result = scene.Result();
        read.insert(read.end(), result.begin(), result.end());
        return read;
      },
      "cudaStreamWaitEvent", 1);
}

TEST_F(InjectedBugsTest, AReadWaitsForThePageThatArrives) {
  CheckHost(
      [](Backend& backend, const auto& begin) {
        const PageAndOp scene(backend);
        std::vector<float> read;
        const Bug bug(begin);
        scene.Write(5);
        EXPECT_TRUE(scene.BeginRead(read)->Wait().ok());
        return read;
      },
      "cudaStreamWaitEvent", 1);
}

TEST_F(InjectedBugsTest, TheHostWaitsForWhatItReads) {
  const Scene scene = [](Backend& backend, const auto& begin) {
    const PageAndOp scene(backend);
    const Bug bug(begin);
    scene.Run();
    return scene.Result();
  };
  CheckHost(scene, "cudaEventSynchronize", 1);
  const Scene rows = [](Backend& backend, const auto& begin) {
    const PageAndOp scene(backend);
    std::vector<float> values(64);
    std::vector<TokenId> best(1);
    const Bug bug(begin);
    scene.Run();
    backend.ReadRows(scene.result->As(DType::kBF16, 1, 64), absl::MakeSpan(values));
    backend.ArgmaxRows(scene.page->As(DType::kF32, 1, 64), absl::MakeSpan(best));
    values.push_back(static_cast<float>(best[0]));
    return values;
  };
  CheckHost(rows, "cudaStreamSynchronize", 2);
}

// Pinned memory of pages on their way to the device: eight slots.
TEST_F(InjectedBugsTest, APinnedSlotIsUsedAgainOnlyWhenItsCopyIsDone) {
  CheckHost(
      [](Backend& backend, const auto& begin) {
        std::vector<std::unique_ptr<PageAndOp>> pages;
        for (int i = 0; i < 10; ++i) pages.push_back(std::make_unique<PageAndOp>(backend));
        const Bug bug(begin);
        for (int i = 0; i < 10; ++i) pages[i]->Write(static_cast<float>(i));
        std::vector<float> result;
        for (const auto& page : pages) {
          const std::vector<float> values = ReadBytes(backend, *page->page);
          result.insert(result.end(), values.begin(), values.end());
        }
        return result;
      },
      "cudaEventSynchronize", 2);
}

// Pinned memory of pages on their way to the host: a ring.
TEST_F(InjectedBugsTest, TheReadersRingIsUsedAgainOnlyWhenItsCopyIsDone) {
  CheckHost(
      [](Backend& backend, const auto& begin) {
        const PageAndOp even(backend), odd(backend);
        even.Write(8);
        constexpr size_t kRing = kScratchBytes / kPageBytes;
        std::vector<std::vector<float>> reads(kRing + 4);
        std::vector<std::unique_ptr<PendingRead>> pending;
        const Bug bug(begin);
        for (size_t i = 0; i < reads.size(); ++i) {  // in the second round the ring's places change their pages
          pending.push_back(((i + i / kRing) % 2 == 0 ? even : odd).BeginRead(reads[i]));
        }
        std::vector<float> result;
        for (size_t i = 0; i < reads.size(); ++i) {
          EXPECT_TRUE(pending[i]->Wait().ok());
          result.insert(result.end(), reads[i].begin(), reads[i].end());
        }
        return result;
      },
      "cudaEventSynchronize", 4);
}

// Ops' arguments: a ring of four parts of 1 KiB.
TEST_F(InjectedBugsTest, TheArgumentsRingIsUsedAgainOnlyWhenItsCopyIsDone) {
  scratch_bytes_ = 16 << 10;
  CheckHost(
      [](Backend& backend, const auto& begin) {
        constexpr int kRows = 150, kKept = 100, kOps = 24;  // an op has 256 bytes
        Random random(3);
        const TestMatrix x(backend, DType::kF32, kRows, 1, random.Values(kRows));
        std::vector<std::unique_ptr<TestMatrix>> outs;
        for (int i = 0; i < kOps; ++i) outs.push_back(std::make_unique<TestMatrix>(backend, DType::kF32, kKept, 1));
        const Bug bug(begin);
        for (int i = 0; i < kOps; ++i) {
          std::vector<int32_t> rows;
          for (int j = 0; j < kRows; ++j) {
            if ((j + i) % 3 != 0) rows.push_back(j);
          }
          backend.GatherRows(x.view(), rows, outs[i]->view());
        }
        std::vector<float> result(8 * kKept);  // of the ring's first two parts
        for (int i = 0; i < 8; ++i) {
          backend.ReadRows(outs[i]->view(), absl::MakeSpan(result).subspan(i * kKept, kKept));
        }
        return result;
      },
      "cudaEventSynchronize", 1);
}

// ---- Memory ----

// Leaves out the last wait before a page is given back whose bytes are still on their way to the host.
void FreeWhileItIsRead(bool wait) {
  const auto backend = *CudaBackend::Create({.scratch_bytes = kScratchBytes});
  auto scene = std::make_unique<PageAndOp>(*backend);
  std::vector<float> read;
  scene->Run();  // has waited for the page
  EXPECT_TRUE(backend->Finish().ok());
  const auto pending = scene->BeginRead(read);
  if (!wait) cusim::LeaveOut({"cudaStreamWaitEvent", 1});
  scene.reset();
  EXPECT_TRUE(backend->Finish().ok());
  EXPECT_TRUE(pending->Wait().ok());
  cusim::LeaveOutNothing();
  EXPECT_EQ(read[3], 4.0f);
}
TEST_F(InjectedBugsTest, MemoryIsGivenBackOnlyAfterItsReaders) {
  UseSchedule(1);
  EXPECT_DEATH(FreeWhileItIsRead(false), "");
  FreeWhileItIsRead(true);
}

// A launcher that asks for less shared memory than its kernel uses.
void AttendWithLessSharedMemory(size_t bytes) {
  const auto backend = *CudaBackend::Create({.scratch_bytes = kScratchBytes});
  const AttentionData data(*backend, {1, 1, 64}, 40);
  EXPECT_TRUE(backend->Finish().ok());
  cusim::ShortenSharedMemory(bytes);
  backend->Attention(data.q.view(), data.positions, data.shape, data.kv.view(), data.out.view());
  EXPECT_TRUE(backend->Finish().ok());
  cusim::LeaveOutNothing();
}
TEST_F(InjectedBugsTest, TooLittleSharedMemoryIsAnOverrun) {
  EXPECT_DEATH(AttendWithLessSharedMemory(32), "shared memory overrun|AddressSanitizer");
  AttendWithLessSharedMemory(0);
}

// More than 48 KiB without asking: the device refuses the launch, and the backend says so.
TEST_F(InjectedBugsTest, SharedMemoryThatWasNotAskedForIsRefused) {
  const auto backend = MakeBackend();
  const AttentionData data(*backend, {1, 1, 128}, 3);
  ASSERT_TRUE(backend->Finish().ok());
  cusim::LeaveOut({"cudaFuncSetAttribute", 1});
  backend->Attention(data.q.view(), data.positions, data.shape, data.kv.view(), data.out.view());
  EXPECT_EQ(backend->Finish().code(), absl::StatusCode::kInternal);
  EXPECT_NE(backend->Health().message().find("cudaErrorInvalidConfiguration"), absl::string_view::npos)
      << backend->Health();
}

// A kernel that is given rows behind the end of a matrix.
void GatherRow(int32_t row) {
  const auto backend = *CudaBackend::Create({.scratch_bytes = kScratchBytes});
  const auto x = *backend->Allocate(4 * 64 * sizeof(float)), out = *backend->Allocate(64 * sizeof(float));
  const std::vector<int32_t> rows = {row};
  backend->GatherRows(x->As(DType::kF32, 4, 64), rows, out->As(DType::kF32, 1, 64));
  EXPECT_TRUE(backend->Finish().ok());
}
TEST_F(InjectedBugsTest, RowsOutsideOfAMatrixTrap) {
  EXPECT_DEATH(GatherRow(4), "");
  GatherRow(3);
}

// Pages that nobody has written are zeros by contract; other memory is NaN until it is written.
TEST_F(InjectedBugsTest, WhatWasNeverWrittenSpoilsTheResult) {
  const auto backend = MakeBackend();
  const PageAndOp scene(*backend);
  float* unwritten = nullptr;
  ASSERT_EQ(cudaMalloc(&unwritten, kPageBytes), cudaSuccess);
  const int64_t cols = kPageBytes / sizeof(float);
  std::vector<float> result(cols);
  const Matrix out = scene.result->As(DType::kBF16, 1, cols);
  backend->RmsNorm(Matrix{unwritten, DType::kF32, 1, cols, cols}, *scene.weight, 0, out);
  backend->ReadRows(out, absl::MakeSpan(result));
  EXPECT_TRUE(std::all_of(result.begin(), result.end(), [](float x) { return std::isnan(x); }));
  EXPECT_EQ(cudaFree(unwritten), cudaSuccess);
}

}  // namespace
}  // namespace slimfill::engine::cuda

#endif
