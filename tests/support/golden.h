// The golden values in tests/golden and the real models they belong to. See tests/golden/README.md.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace slimfill::testing {

// Reads tests/golden/<name>. Fails the program when it is missing or no JSON.
nlohmann::json ReadGolden(const std::string& name);
std::string GoldenPath(const std::string& name);  // tests/golden/<name>
std::vector<std::byte> BytesFromHex(const std::string& hex);

// The path of a real model: <SLIMFILL_HOME, or ~/.cache/slimfill>/models/<file>.
std::string ModelPath(const std::string& file);
// How a test says that a model is not there.
std::string MissingModelText(const std::string& path);

inline constexpr char kQwenModelFile[] = "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf";
inline constexpr char kSmolModelFile[] = "SmolLM2-135M-Instruct.Q4_1.gguf";

}  // namespace slimfill::testing
