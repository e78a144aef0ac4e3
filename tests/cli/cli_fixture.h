// The command-line program, as its user runs it, against a server in this process.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/server/test_server.h"

namespace slimfill::testing {

struct Output {
  int exit_code = -1;
  std::string out, err;
};

class CliTest : public ::testing::Test {
 protected:
  CliTest() : folder_(std::filesystem::path(::testing::TempDir()) / absl::StrCat("cli_test.", getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~CliTest() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  std::string Read(const std::string& name) {
    std::ifstream file(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  // Runs `slimfill ARGUMENTS`, words quoted for the shell, against the test's server.
  Output Run(const std::string& arguments, const std::string& input = "") {
    return RunAt(server_.app().address(), arguments, input);
  }
  Output RunAt(const std::string& server, const std::string& arguments, const std::string& input = "") {
    const std::string stdin_file = Write("stdin", input);
    const std::string command =
        absl::StrCat("SLIMFILL_SERVER=", server, " ", SLIMFILL_CLI, " ", arguments, " <", stdin_file, " >",
                     (folder_ / "stdout").string(), " 2>", (folder_ / "stderr").string());
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Read("stdout"), Read("stderr")};
  }

  std::filesystem::path folder_;
  TestServer server_;
};

}  // namespace slimfill::testing
