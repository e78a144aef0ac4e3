// Model directories: right ones, and what is said of wrong ones. Each test changes a copy of a tiny model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/model/sha256.h"
#include "engine/model/source.h"
#include "engine/model/weights.h"
#include "tests/support/golden.h"
#include "tests/support/model_directory.h"

namespace slimfill::engine {
namespace {

using ::slimfill::testing::ModelDirectory;
using ::testing::Contains;
using ::testing::HasSubstr;

// Everything that loading a model reads of its files.
absl::Status Load(const std::string& path) {
  const auto source = OpenModel(path);
  if (!source.ok()) return source.status();
  const auto tokenizer = (*source)->MakeTokenizer();
  if (!tokenizer.ok()) return tokenizer.status();
  if (const auto chat = (*source)->MakeChatTemplate(**tokenizer); absl::IsInvalidArgument(chat.status())) {
    return chat.status();
  }
  return ReadModelWeights((*source)->tensors(), (*source)->config()).status();
}

void ExpectRefused(const ModelDirectory& directory, const std::string& text) {
  const absl::Status status = Load(directory.path());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(directory.path()));
  EXPECT_THAT(std::string(status.message()), HasSubstr(text));
}

// What is said of qwen3, whose weights are in three shards, after a change of its index.
void ExpectIndexRefused(const std::function<void(nlohmann::json&)>& change, const std::string& text) {
  const ModelDirectory directory("qwen3");
  directory.Edit("model.safetensors.index.json", change);
  ExpectRefused(directory, text);
}

void ExpectTokenizerRefused(const std::function<void(nlohmann::json&)>& change, const std::string& text,
                            const std::string& model = "qwen2") {
  const ModelDirectory directory(model);
  directory.Edit("tokenizer.json", change);
  ExpectRefused(directory, text);
}

nlohmann::json DigitsThenByteLevel(bool each) {
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Digits"}, {"individual_digits", each}}, {{"type", "ByteLevel"}, {"add_prefix_space", false}}}}};
}

constexpr char kShard[] = "model-00002-of-00003.safetensors";

TEST(HfSource, NamesTheModelAfterItsDirectory) {
  const auto source = OpenModel(testing::GoldenPath("models/llama//"));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->config().name, "llama");
  EXPECT_EQ((*source)->path(), testing::GoldenPath("models/llama"));
}

TEST(HfSource, HashIsThatOfTheListOfItsFiles) {
  const ModelDirectory directory("llama");
  std::string list;
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.json"}) {
    const std::string contents = directory.Read(file);
    absl::StrAppend(
        &list, Sha256HexOf(absl::MakeConstSpan(reinterpret_cast<const std::byte*>(contents.data()), contents.size())),
        "  ", file, "\n");
  }
  const std::string hash = (*OpenModel(directory.path()))->Sha256Hex();
  EXPECT_EQ(hash, Sha256HexOf(absl::MakeConstSpan(reinterpret_cast<const std::byte*>(list.data()), list.size())));
  directory.Write("config.json", directory.Read("config.json") + " ");
  EXPECT_NE((*OpenModel(directory.path()))->Sha256Hex(), hash);
}

TEST(HfSource, EndTokensComeFromWhereverTheyAre) {
  const ModelDirectory directory("llama");
  const auto stops = [&] {
    const auto tokenizer = (*OpenModel(directory.path()))->MakeTokenizer();
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return (*tokenizer)->stop_tokens();
  };
  const auto tokenizer = *(*OpenModel(directory.path()))->MakeTokenizer();
  EXPECT_EQ(tokenizer->eos(), *tokenizer->SpecialId("<|end_of_text|>"));
  EXPECT_EQ(tokenizer->bos(), *tokenizer->SpecialId("<|begin_of_text|>"));
  EXPECT_THAT(stops(), Contains(*tokenizer->SpecialId("<|eot_id|>")));
  directory.Edit("generation_config.json", [](auto& json) { json["eos_token_id"] = {5, 6}; });
  EXPECT_THAT(stops(), Contains(5));
  EXPECT_THAT(stops(), Contains(6));
  directory.Remove("generation_config.json");
  directory.Remove("tokenizer_config.json");
  EXPECT_EQ(stops().front(), *tokenizer->SpecialId("<|end_of_text|>"));  // config.json's
  directory.Edit("config.json", [](auto& json) { json.erase("eos_token_id"); });
  ExpectRefused(directory, "without it no answer would end");
  for (const nlohmann::json& id :
       {nlohmann::json(-1), nlohmann::json(352), nlohmann::json("2"), nlohmann::json({1, 999})}) {
    directory.Edit("config.json", [&](auto& json) { json["eos_token_id"] = id; });
    ExpectRefused(directory, "config.json: \"eos_token_id\" is ");
  }
  directory.Write("tokenizer_config.json", R"({"eos_token": {"content": "<none>"}})");
  ExpectRefused(directory, "tokenizer_config.json: \"eos_token\" is \"<none>\", which tokenizer.json does not have");
}

TEST(HfSource, ReadsTheTemplateOfEitherFile) {
  const ModelDirectory directory("qwen2");
  const auto tokenizer = *(*OpenModel(directory.path()))->MakeTokenizer();
  const auto read = [&] { return (*OpenModel(directory.path()))->MakeChatTemplate(*tokenizer); };
  const std::string source = nlohmann::json::parse(directory.Read("tokenizer_config.json"))["chat_template"];
  EXPECT_STREQ(read()->name(), "chatml");
  directory.Edit("tokenizer_config.json", [&](auto& json) {
    json["chat_template"] = {{{"name", "tool_use"}, {"template", "x"}}, {{"name", "default"}, {"template", source}}};
  });
  EXPECT_STREQ(read()->name(), "chatml");
  directory.Edit("tokenizer_config.json", [](auto& json) { json["chat_template"] = {{{"name", "other"}}}; });
  EXPECT_TRUE(absl::IsNotFound(read().status())) << read().status();
  directory.Edit("tokenizer_config.json", [](auto& json) { json["chat_template"] = {1}; });
  ExpectRefused(directory, "\"chat_template\" has an entry that is not an object");
  directory.Write("chat_template.jinja", source);
  EXPECT_STREQ(read()->name(), "chatml");
  directory.Write("chat_template.jinja", "{{ messages }}");
  EXPECT_TRUE(absl::IsUnimplemented(read().status())) << read().status();
  directory.Write("chat_template.jinja", std::string((1 << 20) + 1, ' '));
  ExpectRefused(directory, "chat_template.jinja: the file has 1048577 bytes, the limit is 1048576");
}

TEST(HfSource, NamesTheFileThatIsMissing) {
  for (const char* file : {"config.json", "tokenizer.json", "model.safetensors"}) {
    const ModelDirectory directory("qwen2");
    directory.Remove(file);
    ExpectRefused(directory, file);
  }
  EXPECT_EQ(OpenModel("/does/not/exist").status().code(), absl::StatusCode::kNotFound);
}

TEST(HfSource, RefusesFilesThatAreNoJsonObject) {
  for (const char* file : {"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    for (const char* contents : {"{", "[]", "{\"a\":1,\"a\":2}", "\xff", "nul"}) {
      const ModelDirectory directory("qwen2");
      directory.Write(file, contents);
      ExpectRefused(directory, file);
    }
  }
  const ModelDirectory directory("qwen2");
  directory.Write("config.json", std::string((1 << 20) + 1, ' '));
  ExpectRefused(directory, "config.json: the file has 1048577 bytes, the limit is 1048576");
}

TEST(HfSource, RefusesConfigurationThatTheWeightsContradict) {
  const auto expect = [](const char* key, const nlohmann::json& value, const std::string& text) {
    const ModelDirectory directory("mistral");
    directory.Edit("config.json", [&](auto& json) { json[key] = value; });
    ExpectRefused(directory, text);
  };
  expect("vocab_size", 353, "\"vocab_size\" of config.json is 353, the embedding has 352 rows");
  expect("hidden_size", 128,
         "tensor \"model.embed_tokens.weight\" has the shape [352, 64], the model's keys ask for [352, 128]");
  expect("num_hidden_layers", 3, "tensor \"model.layers.2.input_layernorm.weight\" is missing");
  expect("num_hidden_layers", 1, "is not part of a mistral model of 1 layers");
  expect("model_type", "qwen2", "tensor \"model.layers.0.self_attn.q_proj.bias\" is missing");
  expect("model_type", "qwen3", "tensor \"model.layers.0.self_attn.q_norm.weight\" is missing");
  const ModelDirectory tied("qwen2");
  tied.Edit("config.json", [](auto& json) { json["tie_word_embeddings"] = false; });
  ExpectRefused(tied, "tensor \"lm_head.weight\" is missing");
  const ModelDirectory normed("qwen3");
  normed.Edit("config.json", [](auto& json) { json["model_type"] = "llama"; });
  ExpectRefused(normed, "_norm.weight\" is not part of a llama model");
}

// An output that a tied model also holds is not used, as in transformers.
TEST(HfSource, IgnoresTheOutputOfATiedModel) {
  const ModelDirectory directory("mistral");
  directory.Edit("config.json", [](auto& json) { json["tie_word_embeddings"] = true; });
  const auto source = *OpenModel(directory.path());
  const auto weights = ReadModelWeights(source->tensors(), source->config());
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->output.parts()[0].tensor->name, "model.embed_tokens.weight");
}

TEST(HfSource, RefusesWrongIndexes) {
  ExpectIndexRefused([](auto& json) { json.erase("weight_map"); }, "\"weight_map\" is missing");
  ExpectIndexRefused([](auto& json) { json["weight_map"] = {1}; }, "must be an object");
  ExpectIndexRefused([](auto& json) { json["weight_map"] = nlohmann::json::object(); }, "it names 0 shards");
  for (const nlohmann::json& name :
       {nlohmann::json("../model-00002-of-00003.safetensors"), nlohmann::json("/etc/passwd"),
        nlohmann::json("a/b.safetensors"), nlohmann::json(".."), nlohmann::json(""), nlohmann::json(".safetensors"),
        nlohmann::json("config.json"), nlohmann::json(std::string("a\0.safetensors", 14)),
        nlohmann::json(std::string(300, 'a') + ".safetensors"), nlohmann::json(7), nlohmann::json(nullptr)}) {
    ExpectIndexRefused([&](auto& json) { json["weight_map"]["model.norm.weight"] = name; },
                       "tensor \"model.norm.weight\" is said to be in ");
  }
  ExpectIndexRefused([](auto& json) { json["weight_map"]["model.norm.weight"] = "other.safetensors"; },
                     "it names other.safetensors, which is not there");
  ExpectIndexRefused([](auto& json) { json["weight_map"]["extra"] = kShard; }, "tensor \"extra\" is not in");
  ExpectIndexRefused([](auto& json) { json["weight_map"].erase("model.norm.weight"); }, "tensors, the shards hold");
  ExpectIndexRefused(
      [](auto& json) {
        auto& shard = json["weight_map"]["model.embed_tokens.weight"];
        shard = shard == kShard ? "model-00001-of-00003.safetensors" : kShard;
      },
      "tensor \"model.embed_tokens.weight\" is not in");
  ExpectIndexRefused(
      [](auto& json) {
        for (int i = 0; i < 1025; ++i) json["weight_map"][absl::StrCat("t", i)] = absl::StrCat("s", i, ".safetensors");
      },
      "shards, allowed are 1 to 1024");
}

TEST(HfSource, RefusesWrongShards) {
  const ModelDirectory missing("qwen3");
  missing.Remove(kShard);
  ExpectRefused(missing, absl::StrCat("it names ", kShard, ", which is not there: fetch the model again"));
  const ModelDirectory twice("qwen3");
  twice.Write(kShard, twice.Read("model-00001-of-00003.safetensors"));
  ExpectRefused(twice, "is in model-00001-of-00003.safetensors, too");
  const ModelDirectory cut("qwen3");
  const std::string shard = cut.Read(kShard);
  cut.Write(kShard, absl::string_view(shard).substr(0, shard.size() - 1));
  ExpectRefused(cut, absl::StrCat(kShard, ": tensor "));
  const ModelDirectory empty("qwen3");
  empty.Write(kShard, "");
  ExpectRefused(empty, "the file is empty");
  const ModelDirectory folder("qwen3");
  folder.Remove(kShard);
  std::filesystem::create_directory(folder.path() + "/" + kShard);
  ExpectRefused(folder, "not a regular file");
}

TEST(HfSource, RefusesTokenizersThatWouldCutOtherwise) {
  ExpectTokenizerRefused([](auto& j) { j["model"]["type"] = "Unigram"; }, "the tokenizer's model is \"Unigram\"");
  ExpectTokenizerRefused([](auto& j) { j["model"]["byte_fallback"] = true; },
                         "(a SentencePiece vocabulary), supported is byte-level BPE");
  ExpectTokenizerRefused([](auto& j) { j["model"]["dropout"] = 0.1; }, "makes tokens random");
  ExpectTokenizerRefused([](auto& j) { j["model"]["end_of_word_suffix"] = "</w>"; },
                         "\"model.end_of_word_suffix\" is not supported");
  ExpectTokenizerRefused(
      [](auto& j) {
        j["normalizer"] = {{"type", "NFKC"}};
      },
      "the normalizer \"NFKC\" is not supported");
  ExpectTokenizerRefused([](auto& j) { j["normalizer"] = 1; }, "\"normalizer\" is 1, it must be an object");
  ExpectTokenizerRefused([](auto& j) { j["pre_tokenizer"] = nullptr; }, "the pre-tokenizer has 0 parts");
  ExpectTokenizerRefused([](auto& j) { j["pre_tokenizer"] = {{"type", "Metaspace"}}; }, "ends in \"Metaspace\"");
  ExpectTokenizerRefused([](auto& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\s+"; },
                         "splits by \"\\\\s+\"");
  ExpectTokenizerRefused([](auto& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"; }, "(Removed)");
  ExpectTokenizerRefused([](auto& j) { j["pre_tokenizer"]["pretokenizers"][0]["invert"] = true; }, "inverted");
  ExpectTokenizerRefused([](auto& j) { j["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true; },
                         "add_prefix_space");
  ExpectTokenizerRefused([](auto& j) { j["pre_tokenizer"]["pretokenizers"][1]["use_regex"] = true; },
                         "\"Split\" is not supported in this form");
  ExpectTokenizerRefused([](auto& j) { j["pre_tokenizer"]["pretokenizers"] = 3; }, "is not a list");
  ExpectTokenizerRefused([](auto& j) { j["pre_tokenizer"] = DigitsThenByteLevel(false); },
                         "\"Digits\" is not supported in this form");
  ExpectTokenizerRefused([](auto& j) { j["decoder"] = {{"type", "Metaspace"}}; }, "the decoder \"Metaspace\"");
  ExpectTokenizerRefused(
      [](auto& j) {
        j["post_processor"] = {{"type", "BertProcessing"}};
      },
      "\"BertProcessing\" is not supported");
  ExpectTokenizerRefused([](auto& j) { j["added_tokens"][0]["rstrip"] = true; }, "has rstrip, which is not supported");
  ExpectTokenizerRefused([](auto& j) { j["added_tokens"][0]["normalized"] = true; }, "has normalized");
}

TEST(HfSource, ReadsSmolLm2sTokenizer) {
  const ModelDirectory directory("qwen2");
  directory.Edit("tokenizer.json", [](auto& json) {
    json["normalizer"] = nullptr;
    json["pre_tokenizer"] = DigitsThenByteLevel(true);
  });
  const auto tokenizer = (*OpenModel(directory.path()))->MakeTokenizer();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto tokens = *(*tokenizer)->Encode(" 12", false);
  ASSERT_EQ(tokens.size(), 3u);  // the space is a word of its own, and so is every digit
  EXPECT_EQ((*tokenizer)->Decode({&tokens[1], 1}), "1");
}

// ByteLevel alone is GPT-2's pre-tokenizer.
TEST(HfSource, ReadsGpt2sTokenizer) {
  const ModelDirectory directory("qwen2");
  directory.Edit("tokenizer.json", [](auto& json) {
    json["normalizer"] = nullptr;
    json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
    json["added_tokens"][0]["normalized"] = true;  // as GPT-2's own: nothing is normalised
  });
  const auto tokenizer = (*OpenModel(directory.path()))->MakeTokenizer();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::string decomposed = "e\xcc\x81t\xcc\x81";
  EXPECT_EQ((*tokenizer)->Decode(*(*tokenizer)->Encode(decomposed, false)), decomposed);
}

TEST(HfSource, RefusesWrongTokens) {
  ExpectTokenizerRefused([](auto& j) { j.erase("model"); }, "\"model\" is missing");
  ExpectTokenizerRefused([](auto& j) { j["model"].erase("vocab"); }, "\"model.vocab\" is missing");
  ExpectTokenizerRefused([](auto& j) { j["model"]["vocab"]["zz"] = 352; },
                         "token \"zz\" has the id 352, the model has embeddings for 352 tokens");
  ExpectTokenizerRefused([](auto& j) { j["model"]["vocab"]["zz"] = -1; }, "has the id -1");
  ExpectTokenizerRefused([](auto& j) { j["model"]["vocab"]["zz"] = "1"; }, "has the id \"1\"");
  ExpectTokenizerRefused([](auto& j) { j["model"]["vocab"]["zz"] = 7; },
                         "token \"zz\" with the id 7 is at odds with token");
  ExpectTokenizerRefused([](auto& j) { j["model"]["vocab"][""] = 350; }, "token 350 '': it is empty");
  ExpectTokenizerRefused([](auto& j) { j["model"]["vocab"]["\xe4\xbd\xa0"] = 350; }, "stands for no byte");
  ExpectTokenizerRefused([](auto& j) { j["model"].erase("merges"); }, "\"model.merges\" is not a list");
  ExpectTokenizerRefused([](auto& j) { j["model"]["merges"][0] = 1; }, "merge 0 is neither");
  ExpectTokenizerRefused([](auto& j) { j["model"]["merges"][0] = {"a", "b", "c"}; }, "merge 0 is neither");
  ExpectTokenizerRefused([](auto& j) { j["model"]["merges"][0] = {"a b", "c"}; }, "merge 0 is neither");
  ExpectTokenizerRefused(
      [](auto& j) {
        j["model"]["merges"][0] = {"qq", "zz"};
      },
      "merge 0 'qq zz' is not two normal tokens");
  ExpectTokenizerRefused([](auto& j) { j["model"]["merges"][0] = "ab"; }, "merge 0 'ab'");
  ExpectTokenizerRefused([](auto& j) { j["added_tokens"] = {{"a", 1}}; }, "\"added_tokens\" is not a list");
  ExpectTokenizerRefused([](auto& j) { j["added_tokens"][0] = 1; }, "entry that is not an object");
  ExpectTokenizerRefused([](auto& j) { j["added_tokens"][0]["content"] = ""; }, "an added token has no text");
  ExpectTokenizerRefused([](auto& j) { j["added_tokens"][0].erase("id"); }, "has the id null");
  ExpectTokenizerRefused([](auto& j) { j["added_tokens"][0]["id"] = 1; }, "is at odds with token");
  ExpectTokenizerRefused([](auto& j) { j["added_tokens"].push_back(j["added_tokens"][0]); }, "is at odds with");
}

TEST(HfSource, RefusesWrongPostProcessors) {
  const auto single = [](auto& j) -> nlohmann::json& { return j["post_processor"]["processors"][1]["single"]; };
  const auto expect = [](const std::function<void(nlohmann::json&)>& change, const std::string& text) {
    ExpectTokenizerRefused(change, text, "llama");
  };
  expect([&](auto& j) { single(j)[0]["SpecialToken"]["id"] = "<none>"; }, "adds \"<none>\", which is not a token");
  expect([&](auto& j) { single(j).push_back(single(j)[0]); }, "adds more than one token");
  expect([&](auto& j) { std::swap(single(j)[0], single(j)[1]); }, "adds more than one token");
  expect([&](auto& j) { single(j) = nullptr; }, "adds more than one token");
  expect([&](auto& j) { single(j) = {1, 2}; }, "adds more than one token");
  expect([&](auto& j) { single(j)[0]["SpecialToken"] = {{"id", 3}}; }, "must be a string");
}

// Whatever is changed in its JSON files, a model is read or refused.
TEST(HfSource, SurvivesChangedBytes) {
  const ModelDirectory directory("llama");
  std::mt19937 random(3);
  const std::string likely = "0123456789[]{},:\"-.eE\\ntf \xff";
  for (const char* file : {"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    const std::string original = directory.Read(file);
    for (int i = 0; i < 300; ++i) {
      std::string changed = original;
      for (int change = 0; change < 1 + i % 3; ++change) {
        changed[random() % changed.size()] = likely[random() % likely.size()];
      }
      if (i % 10 == 0) changed.resize(random() % changed.size());
      directory.Write(file, changed);
      const absl::Status status = Load(directory.path());
      ASSERT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
    }
    directory.Write(file, original);
  }
  EXPECT_TRUE(Load(directory.path()).ok());
}

}  // namespace
}  // namespace slimfill::engine
