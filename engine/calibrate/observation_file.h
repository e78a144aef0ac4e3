// Observations kept in a file, so that a calibration that was stopped goes on, and other targets cost no new prefills.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/calibrate/observation.h"

namespace slimfill::calibrate {

// A JSON line each, appended as they are made. One thread.
class ObservationFile {
 public:
  // Reads what the file holds; "" keeps nothing. INVALID_ARGUMENT when a line is not an observation of `model_sha256`;
  // a last line that was cut off is dropped.
  static absl::StatusOr<ObservationFile> Open(const std::string& path, const std::string& model_sha256);

  // Null when there is none of this id.
  const Observation* Find(const std::string& id) const;
  absl::Status Append(const std::string& id, const Observation& observation);

 private:
  std::string path_, model_sha256_;
  std::map<std::string, Observation> observations_;
};

}  // namespace slimfill::calibrate
