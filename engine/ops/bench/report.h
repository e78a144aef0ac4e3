// The figures of bench_ops: lines for people as they come, JSON at the end.
#pragma once

#include <string>

#include "engine/ops/bench/timing.h"
#include "nlohmann/json.hpp"

namespace slimfill::engine {

// Of all threads together; 0: not known.
struct MachineLimits {
  double bf16_flops = 0;
  double int8_ops = 0;
  double read_bytes_per_second = 0;
};

class Report {
 public:
  Report(const std::string& backend, int threads, MachineLimits limits);

  // `operations`: arithmetic; `bytes`: read from memory at least. 0: not of interest. `int8`: its share is that of the
  // int8 peak. `details` go into the JSON.
  void Add(const std::string& what, Time time, double operations, double bytes,
           nlohmann::json details = nlohmann::json::object(), bool int8 = false);
  const nlohmann::json& json() const { return json_; }

 private:
  const int threads_;
  const MachineLimits limits_;
  nlohmann::json json_;
};

}  // namespace slimfill::engine
