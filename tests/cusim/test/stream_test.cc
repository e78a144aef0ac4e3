// Streams, events, memory and errors on the host's side.
#include <cstring>
#include <thread>

#include "cublasLt.h"
#include "tests/cusim/faults.h"
#include "tests/cusim/memory.h"
#include "tests/cusim/test/scene.h"

namespace cusim {
namespace {

class StreamTest : public CusimTest {
 protected:
  StreamTest() {
    EXPECT_CUDA(cudaStreamCreateWithFlags(&first_, cudaStreamNonBlocking));
    EXPECT_CUDA(cudaStreamCreateWithFlags(&second_, cudaStreamNonBlocking));
    EXPECT_CUDA(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming));
  }
  ~StreamTest() override {
    ClearFaults();
    cudaEventDestroy(event_);
    cudaStreamDestroy(first_);
    cudaStreamDestroy(second_);
  }
  void UseStreams(Schedule::Streams streams) {
    Schedule schedule;
    schedule.streams = streams;
    SetSchedule(schedule);
  }

  cudaStream_t first_ = nullptr, second_ = nullptr;
  cudaEvent_t event_ = nullptr;
};

__global__ void AddOne(int* p) { ++*p; }
__global__ void Double(int* p) { *p *= 2; }

template <typename Kernel>
void Queue(Kernel kernel, cudaStream_t stream, int* p) {
  EXPECT_CUDA(slimfill::engine::cuda::Launch(kernel, dim3(1), dim3(1), 0, stream, p));
}

TEST_F(StreamTest, LazyStreamsRunNothingBeforeSomebodyWaits) {
  UseStreams(Schedule::Streams::kLazy);
  int* pinned = nullptr;
  ASSERT_CUDA(cudaMallocHost(&pinned, sizeof(int)));
  *pinned = 1;
  Queue(AddOne, first_, pinned);
#if !defined(__SANITIZE_THREAD__)  // which rightly calls this look a race
  EXPECT_EQ(*pinned, 1);
#endif
  EXPECT_CUDA(cudaEventRecord(event_, first_));
  EXPECT_EQ(cudaEventQuery(event_), cudaErrorNotReady);
  EXPECT_CUDA(cudaStreamSynchronize(first_));
  EXPECT_EQ(*pinned, 2);
  EXPECT_CUDA(cudaEventQuery(event_));
  EXPECT_CUDA(cudaFreeHost(pinned));
}

TEST_F(StreamTest, AStreamKeepsItsOrder) {
  for (const auto streams : {Schedule::Streams::kLazy, Schedule::Streams::kEager, Schedule::Streams::kRandom}) {
    UseStreams(streams);
    DeviceArray<int> value(std::vector<int>{1});
    for (int i = 0; i < 3; ++i) {
      Queue(AddOne, first_, value.get());
      Queue(Double, first_, value.get());
    }
    EXPECT_CUDA(cudaStreamSynchronize(first_));
    EXPECT_EQ(value.Read()[0], ((1 + 1) * 2 + 1) * 2 * 2 + 2);
  }
}

TEST_F(StreamTest, EventsOrderStreams) {
  ExpectClean([&] {
    DeviceArray<int> value(std::vector<int>{1});
    Queue(AddOne, first_, value.get());
    cudaEventRecord(event_, first_);
    cudaStreamWaitEvent(second_, event_);
    Queue(Double, second_, value.get());
    cudaStreamSynchronize(second_);
    return value.Read()[0] == 4;
  });
}

TEST_F(StreamTest, AnEventMeansItsLastRecordingBeforeTheWait) {
  DeviceArray<int> value(std::vector<int>{0});
  EXPECT_CUDA(cudaStreamWaitEvent(second_, event_));  // never recorded: nothing to wait for
  Queue(AddOne, first_, value.get());
  EXPECT_CUDA(cudaEventRecord(event_, first_));
  EXPECT_CUDA(cudaStreamWaitEvent(second_, event_));
  Queue(AddOne, second_, value.get());
  EXPECT_CUDA(cudaEventRecord(event_, second_));  // on another stream now
  EXPECT_CUDA(cudaEventSynchronize(event_));
  EXPECT_EQ(value.Read()[0], 2);
}

TEST_F(StreamTest, PageableCopiesAreTakenOverAtOnce) {
  UseStreams(Schedule::Streams::kLazy);
  DeviceArray<int> value(1);
  const uint64_t before = PageableCopies();
  int host = 5;
  EXPECT_CUDA(cudaMemcpyAsync(value.get(), &host, sizeof(host), cudaMemcpyHostToDevice, first_));
  host = 6;
  EXPECT_EQ(PageableCopies(), before + 1);
  EXPECT_CUDA(cudaMemcpyAsync(&host, value.get(), sizeof(host), cudaMemcpyDeviceToHost, first_));
  EXPECT_EQ(host, 5);
  EXPECT_EQ(PageableCopies(), before + 2) << "each holds up the host: not for the engine's loop";
}

TEST_F(StreamTest, CopiesRowsThatLieApart) {
  DeviceArray<int> value(std::vector<int>{1, 2, 3, 4, 5, 6});
  int rows[4] = {};
  EXPECT_CUDA(cudaMemcpy2DAsync(rows, 8, value.get(), 12, 8, 2, cudaMemcpyDeviceToHost, first_));
  EXPECT_CUDA(cudaStreamSynchronize(first_));
  EXPECT_EQ(std::vector<int>(rows, rows + 4), (std::vector<int>{1, 2, 4, 5}));
}

TEST_F(StreamTest, RefusesCopiesOfTheWrongKind) {
  DeviceArray<int> value(2);
  int host[2] = {};
  EXPECT_EQ(cudaMemcpyAsync(host, value.get(), 8, cudaMemcpyHostToDevice, first_), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(value.get(), host, 12, cudaMemcpyHostToDevice, first_), cudaErrorInvalidValue)
      << "too long";
  EXPECT_EQ(cudaMemsetAsync(host, 0, 8, first_), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(StreamTest, MemoryIsGivenBackInStreamOrder) {
  UseStreams(Schedule::Streams::kLazy);
  const size_t free = FreeDeviceBytes();
  int* p = nullptr;
  ASSERT_CUDA(cudaMallocAsync(reinterpret_cast<void**>(&p), sizeof(int), first_));
  EXPECT_CUDA(cudaMemsetAsync(p, 0, sizeof(int), first_));
  Queue(AddOne, first_, p);
  EXPECT_CUDA(cudaFreeAsync(p, first_));
  EXPECT_EQ(FreeDeviceBytes(), free - sizeof(int));
  EXPECT_CUDA(cudaStreamSynchronize(first_));
  EXPECT_EQ(FreeDeviceBytes(), free);
}

TEST_F(StreamTest, TheDeviceCanBeFull) {
  const size_t total = TotalDeviceBytes();
  SetTotalDeviceBytes(total - FreeDeviceBytes() + 100);
  void* p = nullptr;
  EXPECT_EQ(cudaMalloc(&p, 101), cudaErrorMemoryAllocation);
  EXPECT_EQ(p, nullptr);
  EXPECT_CUDA(cudaMalloc(&p, 100));
  EXPECT_CUDA(cudaFree(p));
  SetTotalDeviceBytes(total);
}

TEST_F(StreamTest, FaultsComeWhereTheyAreAskedForAndStick) {
  InjectFault("cudaStreamSynchronize", cudaErrorIllegalAddress, 1, /*sticky=*/true);
  EXPECT_CUDA(cudaStreamSynchronize(first_));
  EXPECT_EQ(cudaStreamSynchronize(first_), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaEventRecord(event_, first_), cudaErrorIllegalAddress);
  ClearFaults();
  EXPECT_CUDA(cudaEventRecord(event_, first_));
}

TEST_F(StreamTest, ThreadsMayWaitForEachOthersWork) {
  DeviceArray<int> value(std::vector<int>{0}), other_value(std::vector<int>{0});
  for (int i = 0; i < 50; ++i) Queue(AddOne, first_, value.get());
  EXPECT_CUDA(cudaEventRecord(event_, first_));
  std::thread other([&] { EXPECT_CUDA(cudaEventSynchronize(event_)); });
  for (int i = 0; i < 50; ++i) {
    Queue(AddOne, second_, other_value.get());
    EXPECT_CUDA(cudaStreamWaitEvent(second_, event_));
  }
  other.join();
  EXPECT_EQ(value.Read()[0], 50);
  EXPECT_EQ(other_value.Read()[0], 50);
}

TEST_F(StreamTest, MultipliesMatricesOfBothTypes) {
  // weight [3, 2] and x [2, 2], row-major: out[i][j] = x[i] . weight[j], and accumulated once more.
  const std::vector<float> weight = {1, 2, 3, 4, 5, 6}, x = {1, 10, -1, 2};
  DeviceArray<float> device_weight(weight), device_x(x), out(std::vector<float>(6, 100.0f));
  cublasLtHandle_t handle;
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t a, b, c;
  cublasLtMatmulPreference_t preference;
  const cublasOperation_t transpose = CUBLAS_OP_T;
  cublasLtCreate(&handle);
  cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof(transpose));
  cublasLtMatrixLayoutCreate(&a, CUDA_R_32F, 2, 3, 2);
  cublasLtMatrixLayoutCreate(&b, CUDA_R_32F, 2, 2, 2);
  cublasLtMatrixLayoutCreate(&c, CUDA_R_32F, 3, 2, 3);
  cublasLtMatmulPreferenceCreate(&preference);
  cublasLtMatmulHeuristicResult_t result;
  int returned = 0;
  EXPECT_EQ(cublasLtMatmulAlgoGetHeuristic(handle, desc, a, b, c, c, preference, 1, &result, &returned),
            CUBLAS_STATUS_SUCCESS);
  const float one = 1, zero = 0;
  for (const float* beta : {&zero, &one}) {
    EXPECT_EQ(cublasLtMatmul(handle, desc, &one, device_weight.get(), a, device_x.get(), b, beta, out.get(), c,
                             out.get(), c, &result.algo, nullptr, 0, first_),
              CUBLAS_STATUS_SUCCESS);
  }
  EXPECT_CUDA(cudaStreamSynchronize(first_));
  EXPECT_EQ(out.Read(), (std::vector<float>{42, 86, 130, 6, 10, 14}));
  cublasLtMatmulPreferenceDestroy(preference);
  for (cublasLtMatrixLayout_t layout : {a, b, c}) cublasLtMatrixLayoutDestroy(layout);
  cublasLtMatmulDescDestroy(desc);
  cublasLtDestroy(handle);
}

}  // namespace
}  // namespace cusim
