// Tools of the emulator's own tests: device arrays, and scenes that are run under many schedules.
#pragma once

#include <unistd.h>

#include <functional>
#include <vector>

#include "engine/ops/cuda/kernels/dev.cuh"
#include "gtest/gtest.h"
#include "tests/cusim/schedule.h"

namespace cusim {

#define ASSERT_CUDA(call) ASSERT_EQ(call, cudaSuccess)
#define EXPECT_CUDA(call) EXPECT_EQ(call, cudaSuccess)

// Device memory of `count` elements; reads and writes wait for the whole device.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) { EXPECT_CUDA(cudaMalloc(&data_, count * sizeof(T))); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { Write(values); }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return data_; }
  void Write(const std::vector<T>& values) {
    EXPECT_CUDA(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  std::vector<T> Read() const {
    std::vector<T> values(count_);
    EXPECT_CUDA(cudaDeviceSynchronize());
    EXPECT_CUDA(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  const size_t count_;
  T* data_ = nullptr;
};

template <typename... Parameters, typename... Arguments>
void RunKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Arguments... arguments) {
  EXPECT_CUDA(slimfill::engine::cuda::Launch(kernel, grid, block, shared_bytes, nullptr, arguments...));
  EXPECT_CUDA(cudaDeviceSynchronize());
}

// A test that leaves the schedule as it found it.
class CusimTest : public testing::Test {
 protected:
  CusimTest() : schedule_(CurrentSchedule()) { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
  ~CusimTest() override { SetSchedule(schedule_); }

 private:
  const Schedule schedule_;
};

inline constexpr int kSeeds = 8;

// How many of several schedules gave the scene a wrong result. `scene` returns whether it was right.
inline int WrongRuns(const std::function<bool()>& scene) {
  int wrong = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    Schedule schedule;
    schedule.seed = static_cast<uint64_t>(seed);
    SetSchedule(schedule);
    wrong += scene() ? 0 : 1;
  }
  return wrong;
}

// A scene with a bug: some schedule shows it by its result. ThreadSanitizer reports it as a race, whatever the result.
inline void ExpectDetected(const std::function<bool()>& scene) {
#if defined(__SANITIZE_THREAD__)
  EXPECT_EXIT(
      {
        WrongRuns(scene);
        _exit(0);
      },
      testing::ExitedWithCode(66), "data race");
#else
  EXPECT_GT(WrongRuns(scene), 0);
#endif
}
// The same scene without the bug.
inline void ExpectClean(const std::function<bool()>& scene) { EXPECT_EQ(WrongRuns(scene), 0); }

}  // namespace cusim
