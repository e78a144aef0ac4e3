#include "engine/model/source.h"

#include <filesystem>

#include "engine/model/gguf_source.h"
#include "engine/model/hf_source.h"

namespace slimfill::engine {

absl::StatusOr<std::unique_ptr<ModelSource>> OpenModel(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return OpenGgufModel(path);
  std::string directory = path;  // as it is shown, without the slash that completion leaves at the end
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  return OpenHfModel(directory);
}

}  // namespace slimfill::engine
