// The table of the server's options: key, help, and how text becomes a value of ServerConfig and back.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/config.h"

namespace slimfill::server {

struct Option {
  std::string key;
  std::string help;
  // INVALID_ARGUMENT with the value and what is allowed.
  std::function<absl::Status(ServerConfig&, const std::string&)> set;
  std::function<std::string(const ServerConfig&)> get;
  bool is_switch = false;  // --key alone means true
};

// In the order of --help.
const std::vector<Option>& Options();

}  // namespace slimfill::server
