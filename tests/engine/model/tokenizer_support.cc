#include "tests/engine/model/tokenizer_support.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "tests/support/golden.h"

namespace slimfill::testing {
namespace {

// Tests may throw: GoogleTest reports the text as a failure.
template <typename T>
T ValueOrThrow(absl::StatusOr<T> value) {
  if (!value.ok()) throw std::runtime_error(value.status().ToString());
  return *std::move(value);
}

}  // namespace

nlohmann::json ReadTokenizerGolden(const std::string& name) {
  const char* folder = std::getenv("SLIMFILL_TOKENIZER_GOLDENS");
  const std::string path = absl::StrCat(folder != nullptr ? folder : SLIMFILL_TOKENIZER_GOLDEN_DIR, "/", name);
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + " is missing; tests/golden/make_tokenizer_goldens.py makes it");
  return nlohmann::json::parse(file);
}

engine::TokenizerData SmallTokenizerData(const std::string& pre) {
  static const auto* json = new nlohmann::json(ReadTokenizerGolden("small_vocabulary.json"));
  engine::TokenizerData data;
  const auto add = [&data](const nlohmann::json& tokens, int64_t type) {
    for (const auto& token : tokens) {
      data.tokens.push_back(token.get<std::string>());
      data.token_types.push_back(type);
    }
  };
  add(json->at("tokens"), 1);
  add(json->at("control"), 3);
  add(json->at("user_defined"), 4);
  data.merges = json->at("merges").get<std::vector<std::string>>();
  data.rules = ValueOrThrow(engine::PreTokenizerRulesFor(pre));
  const auto id = [&data](const std::string& text) {
    return static_cast<engine::TokenId>(std::find(data.tokens.begin(), data.tokens.end(), text) - data.tokens.begin());
  };
  data.bos = id("<|begin_of_text|>");
  data.eos = id("<|end_of_text|>");
  return data;
}

std::unique_ptr<engine::Tokenizer> SmallTokenizer(const std::string& pre) {
  return ValueOrThrow(engine::Tokenizer::FromData(SmallTokenizerData(pre)));
}

std::unique_ptr<engine::GgufFile> OpenModel(const std::string& file) {
  const std::string path = ModelPath(file);
  auto model = engine::GgufFile::Open(path);
  if (absl::IsNotFound(model.status())) throw std::runtime_error(MissingModelText(path));
  return ValueOrThrow(std::move(model));
}

const engine::Tokenizer& GoldenTokenizer(const std::string& name) {
  static auto* loaded = new std::map<std::string, std::unique_ptr<engine::Tokenizer>>;
  auto& tokenizer = (*loaded)[name];
  if (tokenizer == nullptr) {
    absl::string_view pre = name;
    if (absl::ConsumePrefix(&pre, "small_")) {
      tokenizer = SmallTokenizer(std::string(pre));
    } else {
      tokenizer =
          ValueOrThrow(engine::Tokenizer::FromGguf(*OpenModel(name == "qwen2" ? kQwenModelFile : kSmolModelFile)));
    }
  }
  return *tokenizer;
}

}  // namespace slimfill::testing
