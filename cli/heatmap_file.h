// The file that a heat map is written to.
#pragma once

#include <string>
#include <vector>

namespace slimfill::cli {

// Asks for the file before the request is sent, so that a wrong path does not cost a prefill.
class HeatMapFile {
 public:
  // Throws std::runtime_error, naming path and remedy, for a path that cannot be written or is one of the documents'.
  // What the file holds stays until Write.
  HeatMapFile(std::string path, const std::vector<std::string>& documents);
  // Takes away a file that it made and nothing was written to.
  ~HeatMapFile();
  HeatMapFile(const HeatMapFile&) = delete;
  HeatMapFile& operator=(const HeatMapFile&) = delete;

  // Throws std::runtime_error when the file cannot be written after all.
  void Write(const std::string& page);
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
  bool is_new_and_empty_ = false;
};

}  // namespace slimfill::cli
