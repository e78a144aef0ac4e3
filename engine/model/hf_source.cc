#include "engine/model/hf_source.h"

#include <filesystem>
#include <map>
#include <utility>

#include "absl/base/call_once.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/model/hf_config.h"
#include "engine/model/hf_end_tokens.h"
#include "engine/model/hf_tokenizer.h"
#include "engine/model/hf_weights.h"
#include "engine/model/json_object.h"
#include "engine/model/sha256.h"

namespace slimfill::engine {
namespace {

constexpr char kConfigFile[] = "config.json";
constexpr char kTokenizerFile[] = "tokenizer.json";
constexpr char kTemplateFile[] = "chat_template.jinja";
constexpr size_t kMaxConfigBytes = 1 << 20;
constexpr size_t kMaxTemplateBytes = 1 << 20;
constexpr size_t kMaxNameBytes = 128;

absl::string_view TextOf(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// tokenizer_config.json's chat_template: a text, or a list of named ones. NOT_FOUND when there is none.
absl::StatusOr<std::string> TemplateOf(const JsonObject& tokenizer_config) {
  const nlohmann::json* value = tokenizer_config.Find("chat_template");
  if (value != nullptr && value->is_array()) {
    for (const nlohmann::json& entry : *value) {
      if (!entry.is_object()) return tokenizer_config.Invalid("\"chat_template\" has an entry that is not an object");
      const JsonObject named(entry, tokenizer_config.file(), "chat_template.");
      SLIMFILL_ASSIGN_OR_RETURN(const std::string name, named.String("name"));
      if (name == "default") return named.String("template");
    }
    value = nullptr;
  }
  if (value != nullptr) return tokenizer_config.String("chat_template");
  return absl::NotFoundError(absl::StrCat(tokenizer_config.file(), ": the model has no chat template"));
}

class HfSource final : public ModelSource {
 public:
  HfSource(const std::string& directory, ModelConfig config, nlohmann::json json, std::unique_ptr<HfWeights> weights)
      : ModelSource(directory, std::move(config)), json_(std::move(json)), weights_(std::move(weights)) {}

  const TensorSource& tensors() const override { return *weights_; }

  absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer() const override {
    SLIMFILL_ASSIGN_OR_RETURN(const TokenizerData data, ReadHfTokenizer(path(), json_, config().vocab));
    return WithPath(Tokenizer::FromData(data));
  }

  absl::StatusOr<ChatTemplate> MakeChatTemplate(const Tokenizer& tokenizer) const override {
    SLIMFILL_ASSIGN_OR_RETURN(const std::string source, TemplateSource());
    return WithPath(ChatTemplate::FromSource(source, tokenizer));
  }

  std::string Sha256Hex() const override {
    absl::call_once(sha256_once_, [this] { sha256_hex_ = ComputeSha256(); });
    return sha256_hex_;
  }

 private:
  template <typename T>
  absl::StatusOr<T> WithPath(absl::StatusOr<T> value) const {
    if (value.ok()) return value;
    return absl::Status(value.status().code(), absl::StrCat(path(), ": ", value.status().message()));
  }

  absl::StatusOr<std::string> TemplateSource() const {
    const absl::StatusOr<MappedFile> file = MappedFile::Open(absl::StrCat(path(), "/", kTemplateFile));
    if (file.ok() && file->bytes().size() <= kMaxTemplateBytes) return std::string(TextOf(*file));
    if (file.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(path(), "/", kTemplateFile, ": the file has ",
                                                     file->bytes().size(), " bytes, the limit is ", kMaxTemplateBytes));
    }
    if (!absl::IsNotFound(file.status())) return file.status();
    SLIMFILL_ASSIGN_OR_RETURN(const nlohmann::json json, ReadOptionalJson(path(), "tokenizer_config.json"));
    return TemplateOf(JsonObject(json, absl::StrCat(path(), "/tokenizer_config.json")));
  }

  std::string ComputeSha256() const {
    std::map<std::string, std::string> digests;
    for (const auto& [name, file] : weights_->files()) digests[name] = Sha256HexOf(file.bytes());
    for (const char* name : {kConfigFile, kTokenizerFile}) {
      const absl::StatusOr<MappedFile> file = MappedFile::Open(absl::StrCat(path(), "/", name));
      // One that has gone since the model was loaded leaves a name that no other model has.
      digests[name] = file.ok() ? Sha256HexOf(file->bytes()) : "gone";
    }
    std::string list;
    for (const auto& [name, digest] : digests) absl::StrAppend(&list, digest, "  ", name, "\n");
    return Sha256HexOf({reinterpret_cast<const std::byte*>(list.data()), list.size()});
  }

  const nlohmann::json json_;  // config.json
  const std::unique_ptr<HfWeights> weights_;
  mutable absl::once_flag sha256_once_;
  mutable std::string sha256_hex_;  // set by sha256_once_
};

// Before anything is made in the vocabulary's size.
absl::Status CheckVocab(const HfWeights& weights, const ModelConfig& config) {
  const StoredTensor* embedding = weights.FindTensor(absl::StrCat(weights.names().embedding, ".weight"));
  if (embedding == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(weights.name(), ": tensor \"", weights.names().embedding,
                     ".weight\" is missing: use a complete model, as published for text generation"));
  }
  if (embedding->rows() == config.vocab) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(weights.name(), ": \"vocab_size\" of config.json is ", config.vocab,
                                                 ", the embedding has ", embedding->rows(),
                                                 " rows: use files that belong together"));
}

// Escaped, because it is shown in answers and metrics, which must be UTF-8.
std::string NameOf(const std::string& directory) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::absolute(directory, error).lexically_normal();
  return absl::CHexEscape(path.filename().string().substr(0, kMaxNameBytes));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelSource>> OpenHfModel(const std::string& directory) {
  const std::string config_path = absl::StrCat(directory, "/", kConfigFile);
  absl::StatusOr<nlohmann::json> json = ReadJsonFile(config_path, kMaxConfigBytes);
  if (absl::IsNotFound(json.status())) {
    return absl::InvalidArgumentError(absl::StrCat(
        directory, ": there is no ", kConfigFile,
        ": give a GGUF file, or a directory with config.json, tokenizer.json and the weights as safetensors"));
  }
  if (!json.ok()) return json.status();
  SLIMFILL_ASSIGN_OR_RETURN(ModelConfig config, ReadHfConfig(*json, config_path));
  config.name = NameOf(directory);
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<HfWeights> weights, HfWeights::Open(directory));
  SLIMFILL_RETURN_IF_ERROR(CheckVocab(*weights, config));
  return std::make_unique<HfSource>(directory, std::move(config), *std::move(json), std::move(weights));
}

}  // namespace slimfill::engine
