// The server as a process of its own, for tests.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

namespace slimfill::testing {

// slimfill-server (SLIMFILL_SERVER_PROGRAM) as a child process whose standard error is read here.
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

}  // namespace slimfill::testing
