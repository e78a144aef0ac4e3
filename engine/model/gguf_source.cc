#include "engine/model/gguf_source.h"

#include <utility>

#include "base/status.h"
#include "engine/model/gguf.h"

namespace slimfill::engine {
namespace {

class GgufSource final : public ModelSource {
 public:
  GgufSource(std::unique_ptr<GgufFile> file, ModelConfig config)
      : ModelSource(file->name(), std::move(config)), file_(std::move(file)) {}

  const TensorSource& tensors() const override { return *file_; }
  absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer() const override { return Tokenizer::FromGguf(*file_); }
  absl::StatusOr<ChatTemplate> MakeChatTemplate(const Tokenizer& tokenizer) const override {
    return ChatTemplate::FromGguf(*file_, tokenizer);
  }
  std::string Sha256Hex() const override { return file_->Sha256Hex(); }

 private:
  const std::unique_ptr<GgufFile> file_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelSource>> OpenGgufModel(const std::string& path) {
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, GgufFile::Open(path));
  SLIMFILL_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(*file));
  return std::make_unique<GgufSource>(std::move(file), std::move(config));
}

}  // namespace slimfill::engine
