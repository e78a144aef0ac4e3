// Streams and events: queues of operations, each stream a fiber of its own. When an operation runs is the schedule's
// choice, within what streams and events promise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "cusim/host_api.h"
#include "tests/cusim/fiber.h"
#include "tests/cusim/schedule.h"

namespace cusim {

struct Event {
  uint64_t recorded = 0;  // times
  uint64_t reached = 0;
  Stream* last_stream = nullptr;
  char token = 0;
};

struct Operation {
  std::function<void()> run;  // may be empty
  Event* wait_for = nullptr;  // to have been reached `wait_version` times
  uint64_t wait_version = 0;
  std::unique_ptr<char> token = std::make_unique<char>();  // what the host did before, the operation sees
};

struct Stream {
  std::deque<Operation> queue;
  Context fiber, host;
  void* stack = nullptr;
  char token = 0;  // what the stream did, whoever synchronises with it sees
};

// Every call of the runtime holds it; recursive. Invisible to ThreadSanitizer: the runtime orders no memory of its
// callers by itself.
class RuntimeLock {
 public:
  RuntimeLock();
  ~RuntimeLock();
};

// REQUIRES, for all: the runtime's lock.
class Device {
 public:
  static Device& Get();

  Stream* NewStream();
  void DeleteStream(Stream* stream);  // runs what is queued
  Stream* OrDefault(Stream* stream) { return stream != nullptr ? stream : default_stream_; }

  void Push(Stream* stream, Operation operation);
  void Record(Event* event, Stream* stream);
  void WaitFor(Stream* stream, Event* event);
  void Synchronize(Stream* stream);
  void Synchronize(Event* event);
  void SynchronizeAll();

  uint64_t NextLaunch() { return ++launches_; }
  // The fiber of the operation that runs.
  const Context& running_fiber() const { return running_->fiber; }

 private:
  Device();
  static void FiberMain();
  static bool Runnable(const Stream& stream);
  void RunNext(Stream& stream);
  void RunRandomRunnable();
  void Drain(Stream& stream);
  void RunUntil(Event& event, uint64_t version);

  std::vector<Stream*> streams_;
  Stream* default_stream_;
  Stream* running_ = nullptr;
  ScheduleRandom random_;
  uint64_t launches_ = 0;
};

}  // namespace cusim
