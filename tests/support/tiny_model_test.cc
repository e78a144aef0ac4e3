#include "tests/support/tiny_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/model/chat_template.h"
#include "engine/model/tokenizer.h"
#include "engine/model/weights.h"

namespace slimfill::testing {
namespace {

using engine::Architecture;
using engine::GgufFile;
using engine::TokenId;
using ::testing::ElementsAre;

std::vector<TinyModelOptions> Kinds() {
  std::vector<TinyModelOptions> kinds(3);
  kinds[1].architecture = Architecture::kLlama;
  kinds[1].rope_frequency_divisors = true;
  kinds[2].head_dim = 64;
  kinds[2].tied_embeddings = false;
  kinds[2].qkv_bias = false;
  return kinds;
}

TEST(TinyModel, LoadsInEveryKind) {
  for (const TinyModelOptions& options : Kinds()) {
    const std::vector<std::byte> bytes = MakeTinyModelGguf(options);
    const auto file = GgufFile::Parse(bytes, "tiny.gguf");
    ASSERT_TRUE(file.ok()) << file.status();
    const auto config = engine::ReadModelConfig(**file);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->head_dim, options.head_dim);
    const auto weights = engine::ReadModelWeights(**file, *config);
    EXPECT_TRUE(weights.ok()) << weights.status();
  }
}

TEST(TinyModel, IsAFunctionOfItsOptions) {
  TinyModelOptions other_seed;
  other_seed.seed = 2;
  EXPECT_TRUE(MakeTinyModelGguf() == MakeTinyModelGguf());
  EXPECT_FALSE(MakeTinyModelGguf() == MakeTinyModelGguf(other_seed));
}

TEST(TinyModel, TokenizerKnowsBytesMergesAndSpecials) {
  const std::vector<std::byte> bytes = MakeTinyModelGguf();
  const auto file = GgufFile::Parse(bytes, "tiny.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto tokenizer = engine::Tokenizer::FromGguf(**file);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  // "a", then " the" merged, then a byte that is no UTF-8.
  const auto tokens = (*tokenizer)->Encode("a the\xff", /*parse_special=*/false);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_THAT(*tokens, ElementsAre('a', 256 + 3, 0xff));
  EXPECT_EQ((*tokenizer)->Decode(*tokens), "a the\xff");
  EXPECT_EQ((*tokenizer)->eos(), *(*tokenizer)->SpecialId("<|im_end|>"));
}

TEST(TinyModel, RendersChatMl) {
  const std::vector<std::byte> bytes = MakeTinyModelGguf();
  const auto file = GgufFile::Parse(bytes, "tiny.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto tokenizer = engine::Tokenizer::FromGguf(**file);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto chat = engine::ChatTemplate::FromGguf(**file, **tokenizer);
  ASSERT_TRUE(chat.ok()) << chat.status();
  const auto rendered = chat->Render({{"user", "hi"}});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ((*tokenizer)->Decode(rendered->tokens, /*keep_special=*/true),
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
}

}  // namespace
}  // namespace slimfill::testing
