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

// One recording of an event: what a wait means stays the same when the event is recorded again.
struct Recording {
  Stream* stream;
  bool reached = false;
  char token = 0;  // what the stream did before
};

struct Event {
  std::shared_ptr<Recording> last;  // null: never recorded
};

struct Operation {
  std::function<void()> run;                               // may be empty
  std::shared_ptr<Recording> wait_for, records;            // may be null
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
  // Whether whoever waits for the event now waits for work, and not only for other records and waits.
  static bool HasWorkBefore(const Event& event);
  void Synchronize(Stream* stream);
  void Synchronize(Event* event);
  void SynchronizeAll();

  uint64_t NextLaunch() { return ++launches_; }
  // The fiber of the operation that runs.
  const Context& running_fiber() const { return running_->fiber; }

 private:
  Device();
  static void FiberMain();
  static bool HasWorkBefore(const Recording& recording);
  static bool Runnable(const Stream& stream);
  void RunNext(Stream& stream);
  void RunRandomRunnable();
  void Drain(Stream& stream);
  void RunUntil(const Recording& recording);

  std::vector<Stream*> streams_;
  Stream* default_stream_;
  Stream* running_ = nullptr;
  ScheduleRandom random_;
  uint64_t launches_ = 0;
};

}  // namespace cusim
