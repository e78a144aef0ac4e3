// A backend that notes how long each op of another one takes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/ops/backend.h"

namespace slimfill::engine {

struct OpTime {
  const char* op;
  double seconds = 0;
  int64_t calls = 0;
};

// Wall time by op, in the order of first use. Written by the engine thread.
class OpProfile {
 public:
  void Add(const char* op, double seconds);
  void Clear() { times_.clear(); }
  const std::vector<OpTime>& times() const { return times_; }

 private:
  std::vector<OpTime> times_;
};

// `profile` must outlive the backend. For a device that works asynchronously the times are those of the calls only.
std::unique_ptr<Backend> MakeProfiledBackend(std::unique_ptr<Backend> backend, OpProfile& profile);

}  // namespace slimfill::engine
