#include "engine/ops/bench/report.h"

#include <cstdio>
#include <utility>

namespace slimfill::engine {

Report::Report(const std::string& backend, int threads, MachineLimits limits) : threads_(threads), limits_(limits) {
  std::printf("%s; %d at once: bf16 %.1f GFLOP/s, int8 %.1f GOP/s, reads %.1f GB/s\n", backend.c_str(), threads,
              limits.bf16_flops / 1e9, limits.int8_ops / 1e9, limits.read_bytes_per_second / 1e9);
  json_ = {{"backend", backend},
           {"threads", threads},
           {"peak_gflops", limits.bf16_flops / 1e9},
           {"int8_peak_gops", limits.int8_ops / 1e9},
           {"read_gb_per_s", limits.read_bytes_per_second / 1e9},
           {"rows", nlohmann::json::array()}};
}

void Report::Add(const std::string& what, Time time, double operations, double bytes, nlohmann::json details,
                 bool int8) {
  nlohmann::json row = std::move(details);
  row.update({{"what", what}, {"wall_s", time.wall}, {"cpu_s", time.cpu * threads_}});
  std::printf("%-48s %10.3f ms (wall %10.3f)", what.c_str(), time.cpu * 1e3, time.wall * 1e3);
  if (operations > 0) {
    row["flops"] = operations;
    std::printf("  %8.1f GFLOP/s", operations / time.cpu / 1e9);
    if (const double peak = int8 ? limits_.int8_ops : limits_.bf16_flops; peak > 0) {
      row["percent_of_peak"] = operations / time.cpu / peak * 100;
      std::printf(" %5.1f %%", row["percent_of_peak"].get<double>());
    }
  }
  if (bytes > 0 && limits_.read_bytes_per_second > 0) {
    row["percent_of_bandwidth"] = bytes / time.cpu / limits_.read_bytes_per_second * 100;
    std::printf("  %7.1f GB/s %5.1f %%", bytes / time.cpu / 1e9, row["percent_of_bandwidth"].get<double>());
  }
  std::printf("\n");
  std::fflush(stdout);
  json_["rows"].push_back(std::move(row));
}

}  // namespace slimfill::engine
