#include "tests/kvstore/service/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/status.h"

namespace slimfill::kvstore {

ChildProcess::ChildProcess(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  int ends[2];
  SLIMFILL_CHECK(pipe2(ends, O_CLOEXEC) == 0);
  pid_ = fork();
  SLIMFILL_CHECK(pid_ >= 0);
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // never outlives a crashed test
    dup2(ends[1], STDERR_FILENO);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  close(ends[1]);
  stderr_ = fdopen(ends[0], "r");
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    Signal(SIGKILL);
    Wait();
  }
  std::fclose(stderr_);
}

std::string ChildProcess::ReadAfter(const std::string& marker) {
  char line[4096];
  while (std::fgets(line, sizeof(line), stderr_) != nullptr) {
    const std::string text(line);
    const size_t at = text.find(marker);
    if (at == std::string::npos) continue;
    const size_t from = at + marker.size();
    return text.substr(from, text.find_first_of(" \n", from) - from);
  }
  return "";
}

std::string ChildProcess::ReadRest() {
  std::string rest;
  char line[4096];
  while (std::fgets(line, sizeof(line), stderr_) != nullptr) rest += line;
  return rest;
}

bool ChildProcess::HasEnded() {
  siginfo_t info{};
  return pid_ < 0 ||
         (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_);
}

void ChildProcess::Signal(int signal) const { kill(pid_, signal); }

void ChildProcess::Suspend() const {
  Signal(SIGSTOP);
  int status = 0;
  SLIMFILL_CHECK(waitpid(pid_, &status, WUNTRACED) == pid_ && WIFSTOPPED(status));
}

int ChildProcess::Wait() {
  int status = 0;
  SLIMFILL_CHECK(waitpid(pid_, &status, 0) == pid_);
  pid_ = -1;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace slimfill::kvstore
