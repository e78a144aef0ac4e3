// Writes the seeds of gguf_fuzz: one small model of each kind. usage: make_gguf_corpus FOLDER
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/support/tiny_model.h"

int main(int argc, char** argv) {
  using slimfill::engine::Architecture;
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  for (const Architecture architecture : {Architecture::kLlama, Architecture::kQwen2}) {
    slimfill::testing::TinyModelOptions options;
    options.architecture = architecture;
    options.layers = 1;
    options.hidden = 4;
    options.heads = 2;
    options.kv_heads = 1;
    options.head_dim = 2;
    options.ffn = 4;
    options.rope_frequency_divisors = architecture == Architecture::kLlama;
    options.tied_embeddings = architecture == Architecture::kQwen2;
    const std::vector<std::byte> bytes = slimfill::testing::MakeTinyModelGguf(options);
    const std::string path = std::string(argv[1]) + "/" + slimfill::engine::ArchitectureName(architecture) + ".gguf";
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!file.good()) {
      std::fprintf(stderr, "cannot write %s\n", path.c_str());
      return 1;
    }
  }
  return 0;
}
