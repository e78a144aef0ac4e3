// SIGTERM and SIGINT as something to wait for.
#pragma once

#include <csignal>

namespace slimfill::server {

// Made before any other thread, which inherit the blocked signals.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }

  // Waits for the first one and returns its number. A second one, sent by someone who will not wait for the drain, then
  // ends the process at once.
  int Wait() {
    int signal = 0;
    sigwait(&set_, &signal);
    pthread_sigmask(SIG_UNBLOCK, &set_, nullptr);
    return signal;
  }

 private:
  sigset_t set_;
};

}  // namespace slimfill::server
