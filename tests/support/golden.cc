#include "tests/support/golden.h"

#include <cstdlib>
#include <fstream>

#include "absl/strings/escaping.h"
#include "base/status.h"

namespace slimfill::testing {

std::string GoldenPath(const std::string& name) { return std::string(SLIMFILL_GOLDEN_DIR) + "/" + name; }

nlohmann::json ReadGolden(const std::string& name) {
  std::ifstream file(GoldenPath(name));
  nlohmann::json document = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  SLIMFILL_CHECK(!document.is_discarded());
  return document;
}

std::vector<std::byte> BytesFromHex(const std::string& hex) {
  const std::string text = absl::HexStringToBytes(hex);
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

std::string ModelPath(const std::string& file) {
  const char* home = std::getenv("SLIMFILL_HOME");
  if (home != nullptr && *home != '\0') return std::string(home) + "/models/" + file;
  const char* user_home = std::getenv("HOME");
  return std::string(user_home == nullptr ? "" : user_home) + "/.cache/slimfill/models/" + file;
}

std::string MissingModelText(const std::string& path) {
  return "the model " + path + " is missing: run scripts/setup.sh, or set SLIMFILL_HOME to the folder that has it";
}

}  // namespace slimfill::testing
