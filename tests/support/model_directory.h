// A copy of one of the tiny models in tests/golden/models, to be changed: right files and, piece by piece, wrong ones.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace slimfill::testing {

// Removed when it is destroyed.
class ModelDirectory {
 public:
  explicit ModelDirectory(const std::string& model);
  ~ModelDirectory();
  ModelDirectory(const ModelDirectory&) = delete;
  ModelDirectory& operator=(const ModelDirectory&) = delete;

  std::string path() const { return path_.string(); }
  std::string Read(const std::string& file) const;
  void Write(const std::string& file, absl::string_view contents) const;
  void Remove(const std::string& file) const;
  void Edit(const std::string& file, const std::function<void(nlohmann::json&)>& change) const;

 private:
  std::filesystem::path path_;
};

}  // namespace slimfill::testing
