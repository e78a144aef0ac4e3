// The program's commands. Each returns an exit code; a std::runtime_error is a wrong argument.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/client.h"

namespace slimfill::cli {

struct AskOptions {
  std::string question;
  std::vector<std::string> files;
  std::string system;
  std::string pruning = "auto";  // auto, off or keep=RATIO[,RATIO...]
  std::string heatmap;           // file to write the heat map to; none when empty
  bool question_first = false;
  bool no_store = false;
  bool json = false;
  int32_t max_tokens = 512;
  std::optional<float> temperature, top_p;
  std::optional<uint64_t> seed;
};

int Ask(Client& client, const AskOptions& options);

struct TokenizeOptions {
  std::vector<std::string> files;
  std::string text;
  bool json = false;
};

int Tokenize(Client& client, const TokenizeOptions& options);

int ShowStatus(Client& client, bool json);

}  // namespace slimfill::cli
