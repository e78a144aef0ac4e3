// Typed access to the keys of a JSON object, each within a range; an error names the file, the key and the remedy.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/model/json.h"

namespace slimfill::engine {

// Borrows the object. A key whose value is null counts as absent, as in the files of HF.
class JsonObject {
 public:
  // REQUIRES: object.is_object(). `file` begins every error; `path` ("rope_scaling.") stands before a key's name.
  JsonObject(const nlohmann::json& object, std::string file, std::string path = "")
      : object_(object), file_(std::move(file)), path_(std::move(path)) {}

  const nlohmann::json* Find(const std::string& key) const;  // null when absent
  bool Has(const std::string& key) const { return Find(key) != nullptr; }
  bool HasKey(const std::string& key) const { return object_.contains(key); }  // null or not

  absl::StatusOr<int> Int(const std::string& key, int64_t max) const;  // 1 to max
  absl::StatusOr<int> IntOr(const std::string& key, int64_t max, int fallback) const;
  absl::StatusOr<float> PositiveFloat(const std::string& key) const;
  absl::StatusOr<float> PositiveFloatOr(const std::string& key, float fallback) const;
  absl::StatusOr<bool> BoolOr(const std::string& key, bool fallback) const;
  absl::StatusOr<std::string> String(const std::string& key) const;
  absl::StatusOr<std::string> StringOr(const std::string& key, const std::string& fallback) const;
  absl::StatusOr<JsonObject> Object(const std::string& key) const;

  const std::string& file() const { return file_; }
  template <typename... Parts>
  absl::Status Invalid(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(file_, ": ", parts...));
  }
  // The key's name as errors give it, with its path, quoted.
  std::string Name(const std::string& key) const { return absl::StrCat("\"", path_, key, "\""); }

 private:
  absl::StatusOr<const nlohmann::json*> Required(const std::string& key) const;
  absl::Status Wrong(const std::string& key, const std::string& wanted) const;

  const nlohmann::json& object_;
  std::string file_;
  std::string path_;
};

}  // namespace slimfill::engine
