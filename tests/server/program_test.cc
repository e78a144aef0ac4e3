// The program itself: start, signals, exit codes.
#include "tests/server/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "slimfill/v1/inference.grpc.pb.h"
#include "tests/support/tiny_model.h"

namespace slimfill::testing {
namespace {

using ::testing::HasSubstr;

class ProgramTest : public ::testing::Test {
 protected:
  std::vector<std::string> Arguments(const std::string& listen) const {
    return {"--model",          model_,        "--backend",   "ref",   "--listen",          listen,
            "--metrics-listen", "127.0.0.1:0", "--kv-memory", "64MiB", "--kv-pages-memory", "64MiB"};
  }
  const std::string model_ = WriteTemporaryFile("tiny.gguf", MakeTinyModelGguf());
};

TEST_F(ProgramTest, ServesOnFreePortsAndStopsOnSigterm) {
  Program program(Arguments("127.0.0.1:0"));
  ASSERT_TRUE(program.ReadUntil("listening address=127.0.0.1:")) << program.log();
  EXPECT_THAT(program.log(), HasSubstr("backend=ref (--backend)"));
  EXPECT_THAT(program.Field("metrics"), ::testing::MatchesRegex("127\\.0\\.0\\.1:[1-9][0-9]*"));

  auto stub =
      v1::InferenceService::NewStub(grpc::CreateChannel(program.Field("address"), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::GenerateOnceRequest request;
  request.set_text("the cat");
  request.mutable_sampling()->set_max_tokens(4);
  request.mutable_sampling()->set_ignore_eos(true);
  v1::GenerateOnceResponse response;
  const grpc::Status status = stub->GenerateOnce(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.finished().usage().output_tokens(), 4);

  program.Signal(SIGTERM);
  EXPECT_EQ(program.WaitForExit(), 0) << program.log();
  EXPECT_THAT(program.log(), HasSubstr("drained complete=true"));
}

TEST_F(ProgramTest, PortInUseIsExitCodeOneNamingTheFlag) {
  Program first(Arguments("127.0.0.1:0"));
  ASSERT_TRUE(first.ReadUntil("listening address=127.0.0.1:")) << first.log();
  Program second(Arguments(first.Field("address")));
  EXPECT_EQ(second.WaitForExit(), 1);
  EXPECT_THAT(second.log(), HasSubstr("slimfill-server: cannot listen on " + first.Field("address")));
  EXPECT_THAT(second.log(), HasSubstr("--listen"));
}

TEST_F(ProgramTest, WrongOptionsAreExitCodeTwo) {
  Program program({"--lisen", "127.0.0.1:0"});
  EXPECT_EQ(program.WaitForExit(), 2);
  EXPECT_THAT(program.log(), HasSubstr("did you mean '--listen'?"));
}

TEST_F(ProgramTest, FileThatIsNoModelIsExitCodeOne) {
  Program program({"--model", WriteTemporaryFile("not_a_model", std::vector<std::byte>(100)), "--listen", "127.0.0.1:0",
                   "--metrics-listen", "off"});
  EXPECT_EQ(program.WaitForExit(), 1);
  EXPECT_THAT(program.log(), HasSubstr("not_a_model"));
}

}  // namespace
}  // namespace slimfill::testing
