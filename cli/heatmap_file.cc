#include "cli/heatmap_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace slimfill::cli {

HeatMapFile::HeatMapFile(std::string path, const std::vector<std::string>& documents) : path_(std::move(path)) {
  std::error_code ignored;
  for (const std::string& document : documents) {
    if (document != "-" && std::filesystem::equivalent(path_, document, ignored)) {
      throw std::runtime_error("--heatmap " + path_ + ": is the document itself: name another file");
    }
  }
  const bool existed = std::filesystem::exists(path_, ignored);
  errno = 0;
  if (!std::ofstream(path_, std::ios::binary | std::ios::app)) {
    throw std::runtime_error("--heatmap " + path_ + ": cannot be written (" + std::strerror(errno) +
                             "): name a file in a folder that exists and that you may write to");
  }
  is_new_and_empty_ = !existed;
}

HeatMapFile::~HeatMapFile() {
  std::error_code ignored;
  if (is_new_and_empty_) std::filesystem::remove(path_, ignored);
}

void HeatMapFile::Write(const std::string& page) {
  errno = 0;
  std::ofstream file(path_, std::ios::binary);
  file << page << std::flush;
  if (!file) {
    throw std::runtime_error("--heatmap " + path_ + ": cannot be written (" + std::strerror(errno) +
                             "): is the disk full?");
  }
  is_new_and_empty_ = false;
}

}  // namespace slimfill::cli
