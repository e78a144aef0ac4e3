// For small programs that have nothing to do but to stop when something fails. Never for code that serves.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace slimfill {

// The value, or the error's text on standard error and the end of the program with 1.
template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "error: %s\n", std::string(value.status().message()).c_str());
  std::exit(1);
}

inline void Must(const absl::Status& status) {
  if (!status.ok()) Must(absl::StatusOr<bool>(status));
}

}  // namespace slimfill
