#include "tests/cusim/stream.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>

#include "cusim/lane.h"
#include "tests/cusim/memory.h"

namespace cusim {
namespace {

constexpr size_t kStackBytes = 1 << 20;

bool locked = false;
int depth = 0;
constinit thread_local bool mine = false;

}  // namespace

RuntimeLock::RuntimeLock() {
  if (!mine) {
    while (__atomic_test_and_set(&locked, __ATOMIC_ACQUIRE)) sched_yield();
    mine = true;
  }
  ++depth;
}

RuntimeLock::~RuntimeLock() {
  if (--depth > 0) return;
  mine = false;
  __atomic_clear(&locked, __ATOMIC_RELEASE);
}

Device& Device::Get() {
  static Device* device = new Device();  // never deleted: streams may outlive main
  return *device;
}

Device::Device() : default_stream_(NewStream()), random_(CurrentSchedule().seed) {}

Stream* Device::NewStream() {
  auto* stream = new Stream();
  stream->stack =
      mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stream->stack == MAP_FAILED) Fail("no memory for a stream's stack");
  PrepareFiber(stream->fiber, stream->stack, kStackBytes, &FiberMain);
  streams_.push_back(stream);
  return stream;
}

void Device::DeleteStream(Stream* stream) {
  Drain(*stream);
  std::erase(streams_, stream);
  DestroyFiber(stream->fiber);
  munmap(stream->stack, kStackBytes);
  delete stream;
}

void Device::Push(Stream* stream, Operation operation) {
  stream = OrDefault(stream);
  Release(operation.token.get());
  stream->queue.push_back(std::move(operation));
  switch (CurrentSchedule().streams) {
    case Schedule::Streams::kLazy:
      return;
    case Schedule::Streams::kEager:
      return Drain(*stream);
    case Schedule::Streams::kRandom:
      for (uint32_t i = random_.Next() % 4; i > 0; --i) RunRandomRunnable();
  }
}

void Device::Record(Event* event, Stream* stream) {
  auto recording = std::make_shared<Recording>();
  recording->stream = OrDefault(stream);
  event->last = recording;
  Operation operation;
  operation.records = recording;
  operation.run = [recording] {
    recording->reached = true;
    Release(&recording->token);
  };
  Push(stream, std::move(operation));
}

void Device::WaitFor(Stream* stream, Event* event) {
  if (event->last == nullptr) return;
  Operation operation;
  operation.wait_for = event->last;
  Push(stream, std::move(operation));
}

bool Device::HasWorkBefore(const Event& event) { return event.last != nullptr && HasWorkBefore(*event.last); }

bool Device::HasWorkBefore(const Recording& recording) {
  if (recording.reached) return false;
  for (const Operation& operation : recording.stream->queue) {
    if (operation.records.get() == &recording) break;
    if (operation.wait_for != nullptr ? HasWorkBefore(*operation.wait_for) : operation.records == nullptr) return true;
  }
  return false;
}

void Device::Synchronize(Stream* stream) {
  stream = OrDefault(stream);
  Drain(*stream);
  Acquire(&stream->token);
}

void Device::Synchronize(Event* event) {
  if (event->last == nullptr) return;
  const std::shared_ptr<Recording> recording = event->last;
  RunUntil(*recording);
  Acquire(&recording->token);
}

void Device::SynchronizeAll() {
  for (size_t i = 0; i < streams_.size(); ++i) Synchronize(streams_[i]);
}

bool Device::Runnable(const Stream& stream) {
  if (stream.queue.empty()) return false;
  const Recording* wait_for = stream.queue.front().wait_for.get();
  return wait_for == nullptr || wait_for->reached;
}

void Device::RunRandomRunnable() {
  Stream* stream = streams_[random_.Next() % streams_.size()];
  if (Runnable(*stream)) RunNext(*stream);
}

void Device::Drain(Stream& stream) {
  while (!stream.queue.empty()) {
    if (CurrentSchedule().streams == Schedule::Streams::kRandom && random_.OneIn(2)) RunRandomRunnable();
    if (stream.queue.empty()) break;
    if (Runnable(stream)) {
      RunNext(stream);
    } else {
      RunUntil(*stream.queue.front().wait_for);
    }
  }
}

void Device::RunUntil(const Recording& recording) {
  Stream& stream = *recording.stream;
  while (!recording.reached) {
    if (Runnable(stream)) {
      RunNext(stream);
    } else {
      RunUntil(*stream.queue.front().wait_for);
    }
  }
}

void Device::RunNext(Stream& stream) {
  DescribeThread(stream.host);
  PrepareFiber(stream.fiber, stream.stack, kStackBytes, &FiberMain, stream.fiber.tsan_fiber);
  running_ = &stream;
  Switch(stream.host, stream.fiber);
  running_ = nullptr;
}

void Device::FiberMain() {
  FiberStarted();
  Stream& stream = *Get().running_;
  {
    const Operation operation = std::move(stream.queue.front());
    stream.queue.pop_front();
    Acquire(operation.token.get());
    if (operation.wait_for != nullptr) Acquire(&operation.wait_for->token);
    const DeviceAccess access;
    if (operation.run) operation.run();
  }
  Release(&stream.token);
  SwitchFromEnded(stream.fiber, stream.host);
}

}  // namespace cusim
