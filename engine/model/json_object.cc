#include "engine/model/json_object.h"

#include <cmath>

#include "base/status.h"

namespace slimfill::engine {

const nlohmann::json* JsonObject::Find(const std::string& key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

absl::StatusOr<const nlohmann::json*> JsonObject::Required(const std::string& key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return Invalid(Name(key), " is missing: use the file as published with the model");
  return value;
}

absl::Status JsonObject::Wrong(const std::string& key, const std::string& wanted) const {
  return Invalid(Name(key), " is ", QuotedForError(*Find(key)), ", it must be ", wanted);
}

absl::StatusOr<int> JsonObject::Int(const std::string& key, int64_t max) const {
  SLIMFILL_ASSIGN_OR_RETURN(const nlohmann::json* value, Required(key));
  if (!value->is_number_integer() || (value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX) ||
      value->get<int64_t>() < 1 || value->get<int64_t>() > max) {
    return Wrong(key, absl::StrCat("an integer from 1 to ", max));
  }
  return static_cast<int>(value->get<int64_t>());
}

absl::StatusOr<int> JsonObject::IntOr(const std::string& key, int64_t max, int fallback) const {
  if (!Has(key)) return fallback;
  return Int(key, max);
}

absl::StatusOr<float> JsonObject::PositiveFloat(const std::string& key) const {
  SLIMFILL_ASSIGN_OR_RETURN(const nlohmann::json* value, Required(key));
  const float number = value->is_number() ? static_cast<float>(value->get<double>()) : 0.0f;
  if (!std::isfinite(number) || number <= 0) return Wrong(key, "a positive, finite number");
  return number;
}

absl::StatusOr<float> JsonObject::PositiveFloatOr(const std::string& key, float fallback) const {
  if (!Has(key)) return fallback;
  return PositiveFloat(key);
}

absl::StatusOr<bool> JsonObject::BoolOr(const std::string& key, bool fallback) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return Wrong(key, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonObject::String(const std::string& key) const {
  SLIMFILL_ASSIGN_OR_RETURN(const nlohmann::json* value, Required(key));
  if (!value->is_string()) return Wrong(key, "a string");
  return value->get_ref<const std::string&>();
}

absl::StatusOr<std::string> JsonObject::StringOr(const std::string& key, const std::string& fallback) const {
  if (!Has(key)) return fallback;
  return String(key);
}

absl::StatusOr<JsonObject> JsonObject::Object(const std::string& key) const {
  SLIMFILL_ASSIGN_OR_RETURN(const nlohmann::json* value, Required(key));
  if (!value->is_object()) return Wrong(key, "an object");
  return JsonObject(*value, file_, absl::StrCat(path_, key, "."));
}

}  // namespace slimfill::engine
