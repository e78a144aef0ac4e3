// The program on the emulated CUDA device: what becomes of it when the device breaks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "slimfill/v1/inference.grpc.pb.h"
#include "tests/server/program.h"
#include "tests/support/tiny_model.h"

namespace slimfill::testing {
namespace {

using ::testing::HasSubstr;

// A long answer on its way.
class Answer {
 public:
  explicit Answer(v1::InferenceService::Stub& stub) {
    v1::GenerateRequest request;
    request.set_text("the cat");
    request.mutable_sampling()->set_max_tokens(3000);
    request.mutable_sampling()->set_ignore_eos(true);
    reader_ = stub.Generate(&context_, request);
  }
  // Reads on to the first token; false when the answer ends before.
  bool ReadToken() {
    v1::GenerateResponse event;
    while (reader_->Read(&event)) {
      if (event.has_token()) return true;
    }
    return false;
  }
  grpc::Status ReadToTheEnd() {
    v1::GenerateResponse event;
    while (reader_->Read(&event)) {
    }
    return reader_->Finish();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
};

class CudaProgramTest : public ::testing::Test {
 protected:
  CudaProgramTest() { setenv("CUSIM_BREAKS_WITH", broken_.c_str(), 1); }
  ~CudaProgramTest() override {
    unsetenv("CUSIM_BREAKS_WITH");
    unlink(broken_.c_str());
  }
  void BreakTheDevice() const { std::ofstream(broken_) << "now\n"; }

  const std::string model_ = WriteTemporaryFile("tiny.gguf", MakeTinyModelGguf());
  const std::string broken_ = model_ + ".broken";  // the device breaks when the file is there
  const std::vector<std::string> arguments_ = {"--model",          model_,        "--backend",         "cuda",
                                               "--listen",         "127.0.0.1:0", "--kv-memory",       "64MiB",
                                               "--metrics-listen", "off",         "--kv-pages-memory", "64MiB"};
};

TEST_F(CudaProgramTest, ADeviceThatBreaksFailsWhatRunsAndEndsTheProgramWithOne) {
  Program program(arguments_);
  ASSERT_TRUE(program.ReadUntil("listening address=127.0.0.1:")) << program.log();
  EXPECT_THAT(program.log(), HasSubstr("emulated on the CPU"));
  auto stub =
      v1::InferenceService::NewStub(grpc::CreateChannel(program.Field("address"), grpc::InsecureChannelCredentials()));
  Answer first(*stub), second(*stub);
  ASSERT_TRUE(first.ReadToken());
  ASSERT_TRUE(second.ReadToken());
  BreakTheDevice();
  for (Answer* answer : {&first, &second}) {
    const grpc::Status status = answer->ReadToTheEnd();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL) << status.error_message();
  }
  EXPECT_EQ(program.WaitForExit(), 1) << "for its supervisor\n" << program.log();
  EXPECT_THAT(program.log(), HasSubstr("engine failed status=\"the GPU failed: "));
  EXPECT_THAT(program.log(), HasSubstr("cudaErrorIllegalAddress"));
}

TEST_F(CudaProgramTest, ADeviceThatIsBrokenAtTheStartIsExitCodeOneAndNamesTheOtherBackend) {
  BreakTheDevice();
  Program program(arguments_);
  EXPECT_EQ(program.WaitForExit(), 1);
  EXPECT_THAT(program.log(), HasSubstr("--backend=cpu"));
}

}  // namespace
}  // namespace slimfill::testing
