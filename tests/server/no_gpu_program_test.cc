// The program with the CUDA backend, built by nvcc, on a machine without a GPU.
#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/program.h"
#include "tests/support/tiny_model.h"

namespace slimfill::testing {
namespace {

using ::testing::HasSubstr;

TEST(NoGpuProgramTest, BackendCudaEndsWithOneAndSaysWhatToDo) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0) GTEST_SKIP() << "this machine has a GPU";
  Program program({"--model", WriteTemporaryFile("tiny.gguf", MakeTinyModelGguf()), "--backend=cuda", "--listen",
                   "127.0.0.1:0", "--metrics-listen", "off"});
  EXPECT_EQ(program.WaitForExit(), 1);
  EXPECT_THAT(program.log(), HasSubstr("no NVIDIA GPU with a driver was found"));
  EXPECT_THAT(program.log(), HasSubstr("--backend=cpu"));
}

}  // namespace
}  // namespace slimfill::testing
