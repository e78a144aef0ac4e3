// A program run by a test: started with fork and exec, its standard error readable line by line, killed with the test.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <string>
#include <vector>

namespace slimfill::kvstore {

class ChildProcess {
 public:
  explicit ChildProcess(const std::vector<std::string>& command);
  ~ChildProcess();  // kills it, if it still runs
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // What follows `marker` on the first line of standard error that has it; empty when the program ends without one.
  std::string ReadAfter(const std::string& marker);
  std::string ReadRest();  // of standard error, until the program ends

  pid_t pid() const { return pid_; }
  bool HasEnded();  // does not wait

  void Signal(int signal) const;
  void Suspend() const;  // returns when it has stopped; SIGCONT wakes it
  // Exit code, or minus the signal that killed it.
  int Wait();

 private:
  pid_t pid_ = -1;
  std::FILE* stderr_ = nullptr;
};

}  // namespace slimfill::kvstore
