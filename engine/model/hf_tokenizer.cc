#include "engine/model/hf_tokenizer.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "base/status.h"
#include "engine/model/hf_end_tokens.h"
#include "engine/model/hf_pretokenizer.h"
#include "engine/model/json_object.h"

namespace slimfill::engine {
namespace {

constexpr char kFile[] = "tokenizer.json";
constexpr size_t kMaxFileBytes = 64 << 20;  // Llama 3's has 9 MB
constexpr TokenizerKeys kKeys = {
    .tokens = "tokenizer.json's tokens",
    .token_types = "tokenizer.json's token types",
    .merges = "tokenizer.json's merges",
    .bos = "bos_token of tokenizer_config.json",
    .eos = "the end token (eos_token of tokenizer_config.json, eos_token_id of generation_config.json and config.json)",
    .add_bos = "the post-processor of tokenizer.json",
};

// Token types as TokenizerData has them.
constexpr int64_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;

class Reader {
 public:
  Reader(const JsonObject& root, int vocab) : root_(root) {
    data_.keys = kKeys;
    data_.tokens.resize(vocab);
    data_.token_types.assign(vocab, kUnused);
  }

  absl::Status Read() {
    SLIMFILL_ASSIGN_OR_RETURN(data_.rules, RecognisePreTokenizer(root_));
    SLIMFILL_ASSIGN_OR_RETURN(const JsonObject model, root_.Object("model"));
    SLIMFILL_RETURN_IF_ERROR(CheckModel(model));
    SLIMFILL_RETURN_IF_ERROR(ReadTokens(model));
    SLIMFILL_RETURN_IF_ERROR(ReadAddedTokens());
    SLIMFILL_RETURN_IF_ERROR(ReadMerges(model));
    SLIMFILL_RETURN_IF_ERROR(CheckDecoder());
    SLIMFILL_RETURN_IF_ERROR(ReadPostProcessor());
    // GGUF files name the ids without a token like this, too.
    for (size_t id = 0; id < data_.tokens.size(); ++id) {
      if (data_.token_types[id] == kUnused) data_.tokens[id] = absl::StrCat("[PAD", id, "]");
    }
    return absl::OkStatus();
  }

  TokenId Lookup(const std::string& text) const {
    const auto found = ids_.find(text);
    return found == ids_.end() ? -1 : found->second;
  }

  TokenizerData& data() { return data_; }

 private:
  // Variants of BPE that would cut words otherwise.
  absl::Status CheckModel(const JsonObject& model) {
    SLIMFILL_ASSIGN_OR_RETURN(const std::string type, model.StringOr("type", ""));
    SLIMFILL_ASSIGN_OR_RETURN(const bool byte_fallback, model.BoolOr("byte_fallback", false));
    if (type != "BPE" || byte_fallback) {
      return model.Invalid("the tokenizer's model is ", QuotedForError(absl::string_view(type)),
                           byte_fallback ? " with byte_fallback (a SentencePiece vocabulary)" : "",
                           ", supported is byte-level BPE, as GPT-2's, Qwen's and Llama 3's: use a model with such a "
                           "tokenizer");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      SLIMFILL_ASSIGN_OR_RETURN(const std::string text, model.StringOr(key, ""));
      if (!text.empty()) return model.Invalid(model.Name(key), " is not supported: use a model of byte-level BPE");
    }
    if (model.Has("dropout") && !(model.Find("dropout")->is_number() && model.Find("dropout")->get<double>() == 0)) {
      return model.Invalid(model.Name("dropout"), " makes tokens random: set it to null");
    }
    SLIMFILL_ASSIGN_OR_RETURN(data_.rules.whole_word_lookup, model.BoolOr("ignore_merges", false));
    return absl::OkStatus();
  }

  absl::Status Place(const std::string& text, const nlohmann::json& id, int64_t type) {
    const auto quoted = [&] { return QuotedForError(absl::string_view(text)); };
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= data_.tokens.size()) {
      return root_.Invalid("token ", quoted(), " has the id ", QuotedForError(id), ", the model has embeddings for ",
                           data_.tokens.size(), " tokens (\"vocab_size\"): use files that belong together");
    }
    const size_t index = id.get<uint64_t>();
    const auto [entry, is_new] = ids_.try_emplace(text, static_cast<TokenId>(index));
    const bool free = data_.token_types[index] == kUnused;
    // An added token may stand in the vocabulary, too, with the same id; its type is then the added one's.
    if (free != is_new || entry->second != static_cast<TokenId>(index) || (!free && data_.tokens[index] != text) ||
        (!free && data_.token_types[index] != kNormal)) {
      return root_.Invalid("token ", quoted(), " with the id ", index, " is at odds with ",
                           free ? absl::StrCat("id ", entry->second, " of the same text")
                                : absl::StrCat("token ", QuotedForError(absl::string_view(data_.tokens[index]))),
                           ": use the file as published with the model");
    }
    data_.tokens[index] = text;
    data_.token_types[index] = type;
    return absl::OkStatus();
  }

  absl::Status ReadTokens(const JsonObject& model) {
    SLIMFILL_RETURN_IF_ERROR(model.Object("vocab").status());
    for (const auto& [text, id] : model.Find("vocab")->items()) SLIMFILL_RETURN_IF_ERROR(Place(text, id, kNormal));
    return absl::OkStatus();
  }

  absl::Status ReadAddedTokens() {
    const nlohmann::json* added = root_.Find("added_tokens");
    if (added == nullptr) return absl::OkStatus();
    if (!added->is_array()) return root_.Invalid("\"added_tokens\" is not a list");
    for (const nlohmann::json& entry : *added) {
      if (!entry.is_object()) return root_.Invalid("\"added_tokens\" has an entry that is not an object");
      SLIMFILL_RETURN_IF_ERROR(ReadAddedToken(JsonObject(entry, root_.file(), "added_tokens."), entry));
    }
    return absl::OkStatus();
  }

  absl::Status ReadAddedToken(const JsonObject& token, const nlohmann::json& entry) {
    SLIMFILL_ASSIGN_OR_RETURN(const std::string text, token.String("content"));
    if (text.empty()) return token.Invalid("an added token has no text: use the file as published with the model");
    for (const char* key : {"lstrip", "rstrip", "single_word", "normalized"}) {
      SLIMFILL_ASSIGN_OR_RETURN(const bool set, token.BoolOr(key, false));
      // What is found in normalised text is what is found in the text itself, where nothing is normalised.
      if (!set || (key == absl::string_view("normalized") && !data_.rules.normalize_nfc)) continue;
      return token.Invalid("the added token ", QuotedForError(absl::string_view(text)), " has ", key,
                           ", which is not supported: use a model whose added tokens are matched as they are");
    }
    SLIMFILL_ASSIGN_OR_RETURN(const bool special, token.BoolOr("special", false));
    const auto id = entry.find("id");
    return Place(text, id == entry.end() ? nlohmann::json() : *id, special ? kControl : kUserDefined);
  }

  // Each a string "left right", or since 2024 a pair of strings.
  absl::Status ReadMerges(const JsonObject& model) {
    const nlohmann::json* merges = model.Find("merges");
    if (merges == nullptr || !merges->is_array()) return model.Invalid(model.Name("merges"), " is not a list");
    for (const nlohmann::json& merge : *merges) {
      if (merge.is_string()) {
        data_.merges.push_back(merge.get_ref<const std::string&>());
        continue;
      }
      const bool pair = merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string() &&
                        !absl::StrContains(merge[0].get_ref<const std::string&>(), ' ');
      if (!pair) {
        return model.Invalid("merge ", data_.merges.size(),
                             " is neither \"left right\" nor a pair of strings in byte characters");
      }
      data_.merges.push_back(
          absl::StrCat(merge[0].get_ref<const std::string&>(), " ", merge[1].get_ref<const std::string&>()));
    }
    return absl::OkStatus();
  }

  absl::Status CheckDecoder() const {
    SLIMFILL_ASSIGN_OR_RETURN(const std::vector<JsonObject> pieces, PiecesOf(root_, "decoder", "decoders"));
    for (const JsonObject& piece : pieces) {
      SLIMFILL_ASSIGN_OR_RETURN(const std::string type, piece.String("type"));
      if (type != "ByteLevel") {
        return piece.Invalid("the decoder ", QuotedForError(absl::string_view(type)),
                             " is not supported, \"ByteLevel\" is: use a model of byte-level BPE");
      }
    }
    return absl::OkStatus();
  }

  // Tells whether a token is put before every text. ByteLevel changes offsets only.
  absl::Status ReadPostProcessor() {
    SLIMFILL_ASSIGN_OR_RETURN(const std::vector<JsonObject> pieces, PiecesOf(root_, "post_processor", "processors"));
    for (const JsonObject& piece : pieces) {
      SLIMFILL_ASSIGN_OR_RETURN(const std::string type, piece.String("type"));
      if (type == "ByteLevel") continue;
      if (type != "TemplateProcessing") {
        return piece.Invalid("the post-processor ", QuotedForError(absl::string_view(type)),
                             " is not supported, \"TemplateProcessing\" is: use another model");
      }
      SLIMFILL_RETURN_IF_ERROR(ReadTemplate(piece));
    }
    return absl::OkStatus();
  }

  // "single": the text alone, or one special token and the text.
  absl::Status ReadTemplate(const JsonObject& piece) {
    const nlohmann::json* single = piece.Find("single");
    const auto is = [](const nlohmann::json& part, const char* kind) {
      return part.is_object() && part.contains(kind) && part[kind].is_object();
    };
    const bool known = single != nullptr && single->is_array() && !single->empty() && single->size() <= 2 &&
                       is(single->back(), "Sequence") && (single->size() == 1 || is(single->front(), "SpecialToken"));
    if (!known) {
      return piece.Invalid(
          "the post-processor adds more than one token before the text, which is not supported: use "
          "another model");
    }
    if (single->size() == 1) return absl::OkStatus();
    const JsonObject token(single->front()["SpecialToken"], piece.file(), "post_processor.single.");
    SLIMFILL_ASSIGN_OR_RETURN(const std::string text, token.String("id"));
    data_.bos = Lookup(text);
    data_.add_bos = true;
    if (data_.bos >= 0) return absl::OkStatus();
    return piece.Invalid("the post-processor adds ", QuotedForError(absl::string_view(text)),
                         ", which is not a token: use the file as published with the model");
  }

  const JsonObject& root_;
  TokenizerData data_;
  absl::flat_hash_map<std::string, TokenId> ids_;
};

}  // namespace

absl::StatusOr<TokenizerData> ReadHfTokenizer(const std::string& directory, const nlohmann::json& config, int vocab) {
  const std::string path = absl::StrCat(directory, "/", kFile);
  const absl::StatusOr<nlohmann::json> json = ReadJsonFile(path, kMaxFileBytes);
  if (absl::IsNotFound(json.status())) {
    return absl::InvalidArgumentError(
        absl::StrCat(path,
                     ": not there: fetch the model with it (transformers' save_pretrained writes it; a "
                     "SentencePiece tokenizer.model is not supported)"));
  }
  if (!json.ok()) return json.status();
  const JsonObject root(*json, path);
  Reader reader(root, vocab);
  SLIMFILL_RETURN_IF_ERROR(reader.Read());
  TokenizerData& data = reader.data();
  SLIMFILL_ASSIGN_OR_RETURN(HfEndTokens ends, ReadHfEndTokens(directory, config, vocab, [&](const std::string& text) {
                              return reader.Lookup(text);
                            }));
  if (data.bos < 0) data.bos = ends.bos;
  data.eos = ends.eos;
  data.more_stops = std::move(ends.stops);
  return std::move(data);
}

}  // namespace slimfill::engine
