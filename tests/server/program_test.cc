// The program itself: start, signals, exit codes.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
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

// slimfill-server as a child process whose standard error is read here.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments) {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    arguments.insert(arguments.begin(), SLIMFILL_SERVER_PROGRAM);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(ends[1]);
    read_end_ = ends[0];
  }
  ~Program() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(read_end_);
  }

  // Reads its log until `text` has come; false when it ended before.
  bool ReadUntil(const std::string& text) {
    std::array<char, 4096> buffer{};
    while (log_.find(text) == std::string::npos || log_.back() != '\n') {
      const ssize_t bytes = read(read_end_, buffer.data(), buffer.size());
      if (bytes <= 0) return log_.find(text) != std::string::npos;
      log_.append(buffer.data(), static_cast<size_t>(bytes));
    }
    return true;
  }
  void Signal(int number) { kill(pid_, number); }
  int WaitForExit() {
    ReadUntil("\n\n\n");  // never comes: reads to the end
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  const std::string& log() const { return log_; }
  // The word behind `key`= in the log.
  std::string Field(const std::string& key) const {
    const size_t begin = log_.rfind(key + "=") + key.size() + 1;
    return log_.substr(begin, log_.find_first_of(" \n", begin) - begin);
  }

 private:
  pid_t pid_ = -1;
  int read_end_ = -1;
  std::string log_;
};

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
