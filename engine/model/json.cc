#include "engine/model/json.h"

#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/model/mapped_file.h"

namespace slimfill::engine {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxQuotedBytes = 100;

// Sees every piece as it is parsed; the first complaint stays.
class Watcher {
 public:
  bool Saw(int depth, nlohmann::json::parse_event_t event, const nlohmann::json& value) {
    using Event = nlohmann::json::parse_event_t;
    if (!complaint_.empty()) return false;
    if (static_cast<size_t>(depth) > kMaxDepth) {
      complaint_ = absl::StrCat("it nests deeper than ", kMaxDepth);
      return false;
    }
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key && !keys_.back().insert(value.get_ref<const std::string&>()).second) {
      complaint_ = absl::StrCat("an object has the key ", QuotedForError(value), " twice");
      return false;
    }
    return true;
  }
  const std::string& complaint() const { return complaint_; }

 private:
  std::vector<absl::flat_hash_set<std::string>> keys_;  // of the objects that are open
  std::string complaint_;
};

}  // namespace

std::string QuotedForError(absl::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMaxQuotedBytes)),
                      text.size() > kMaxQuotedBytes ? "...\"" : "\"");
}

std::string QuotedForError(const nlohmann::json& value) {
  if (value.is_string()) return QuotedForError(absl::string_view(value.get_ref<const std::string&>()));
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  return value.dump();
}

absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, const std::string& name) {
  Watcher watcher;
  const auto watch = [&watcher](int depth, nlohmann::json::parse_event_t event, const nlohmann::json& value) {
    return watcher.Saw(depth, event, value);
  };
  nlohmann::json value = nlohmann::json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
  if (!watcher.complaint().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", watcher.complaint(), ": use the file as published"));
  }
  if (value.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": not valid JSON: fetch the file again"));
  }
  return value;
}

absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path, size_t max_bytes) {
  SLIMFILL_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const size_t bytes = file.bytes().size();
  if (bytes > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the file has ", bytes, " bytes, the limit is ", max_bytes, ": is it the right file?"));
  }
  SLIMFILL_ASSIGN_OR_RETURN(
      nlohmann::json value,
      ParseJson(absl::string_view(reinterpret_cast<const char*>(file.bytes().data()), bytes), path));
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a JSON object: is it the right file?"));
  }
  return value;
}

}  // namespace slimfill::engine
