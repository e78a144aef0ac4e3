#include "tests/support/model_directory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tests/support/golden.h"

namespace slimfill::testing {

namespace fs = std::filesystem;

ModelDirectory::ModelDirectory(const std::string& model) {
  static std::atomic<int> count{0};
  path_ = absl::StrCat(::testing::TempDir(), "slimfill-", ::getpid(), "-model-", count++);
  fs::remove_all(path_);
  fs::copy(GoldenPath("models/" + model), path_, fs::copy_options::recursive);
}

ModelDirectory::~ModelDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string ModelDirectory::Read(const std::string& file) const {
  std::ifstream stream(path_ / file, std::ios::binary);
  SLIMFILL_CHECK(stream.good());
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void ModelDirectory::Write(const std::string& file, absl::string_view contents) const {
  std::ofstream stream(path_ / file, std::ios::binary | std::ios::trunc);
  stream.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  stream.close();
  SLIMFILL_CHECK(stream.good());
}

void ModelDirectory::Remove(const std::string& file) const { SLIMFILL_CHECK(fs::remove(path_ / file)); }

void ModelDirectory::Edit(const std::string& file, const std::function<void(nlohmann::json&)>& change) const {
  nlohmann::json document = nlohmann::json::parse(Read(file));
  change(document);
  Write(file, document.dump());
}

}  // namespace slimfill::testing
