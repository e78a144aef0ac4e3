#include "engine/model/hf_end_tokens.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/model/json_object.h"

namespace slimfill::engine {
namespace {

constexpr size_t kMaxFileBytes = 16 << 20;
constexpr char kEosId[] = "eos_token_id";

// One id or a list of them; empty when the key is absent.
absl::StatusOr<std::vector<TokenId>> ReadEosIds(const JsonObject& object, int vocab) {
  std::vector<TokenId> ids;
  const nlohmann::json* value = object.Find(kEosId);
  if (value == nullptr) return ids;
  const auto add = [&](const nlohmann::json& id) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab)) {
      return object.Invalid("\"", kEosId, "\" is ", QuotedForError(id), ", it must be an integer below the ", vocab,
                            " tokens of \"vocab_size\": use the file as published with the model");
    }
    ids.push_back(static_cast<TokenId>(id.get<uint64_t>()));
    return absl::OkStatus();
  };
  if (!value->is_array()) {
    SLIMFILL_RETURN_IF_ERROR(add(*value));
    return ids;
  }
  for (const nlohmann::json& id : *value) SLIMFILL_RETURN_IF_ERROR(add(id));
  return ids;
}

// A token that is given by its text, or by an object with it.
absl::StatusOr<TokenId> ReadToken(const JsonObject& object, const std::string& key,
                                  const std::function<TokenId(const std::string&)>& lookup) {
  const nlohmann::json* value = object.Find(key);
  if (value == nullptr) return -1;
  std::string text;
  if (value->is_object()) {
    SLIMFILL_ASSIGN_OR_RETURN(text, JsonObject(*value, object.file(), key + ".").String("content"));
  } else {
    SLIMFILL_ASSIGN_OR_RETURN(text, object.String(key));
  }
  const TokenId token = lookup(text);
  if (token >= 0) return token;
  return object.Invalid("\"", key, "\" is ", QuotedForError(absl::string_view(text)),
                        ", which tokenizer.json does not have: use the files as published with the model");
}

}  // namespace

absl::StatusOr<nlohmann::json> ReadOptionalJson(const std::string& directory, const char* file) {
  absl::StatusOr<nlohmann::json> json = ReadJsonFile(absl::StrCat(directory, "/", file), kMaxFileBytes);
  if (absl::IsNotFound(json.status())) return nlohmann::json::object();
  return json;
}

absl::StatusOr<HfEndTokens> ReadHfEndTokens(const std::string& directory, const nlohmann::json& config, int vocab,
                                            const std::function<TokenId(const std::string&)>& lookup) {
  const auto place = [&](const char* file) { return absl::StrCat(directory, "/", file); };
  SLIMFILL_ASSIGN_OR_RETURN(const nlohmann::json tokenizer, ReadOptionalJson(directory, "tokenizer_config.json"));
  SLIMFILL_ASSIGN_OR_RETURN(const nlohmann::json generation, ReadOptionalJson(directory, "generation_config.json"));
  const JsonObject tokenizer_config(tokenizer, place("tokenizer_config.json"));
  HfEndTokens tokens;
  SLIMFILL_ASSIGN_OR_RETURN(tokens.bos, ReadToken(tokenizer_config, "bos_token", lookup));
  SLIMFILL_ASSIGN_OR_RETURN(tokens.eos, ReadToken(tokenizer_config, "eos_token", lookup));
  SLIMFILL_ASSIGN_OR_RETURN(tokens.stops, ReadEosIds(JsonObject(generation, place("generation_config.json")), vocab));
  if (tokens.stops.empty()) {
    SLIMFILL_ASSIGN_OR_RETURN(tokens.stops, ReadEosIds(JsonObject(config, place("config.json")), vocab));
  }
  if (tokens.eos < 0 && !tokens.stops.empty()) tokens.eos = tokens.stops.front();
  return tokens;
}

}  // namespace slimfill::engine
