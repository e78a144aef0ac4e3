#include "server/config.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/listen_address.h"
#include "base/status.h"
#include "server/did_you_mean.h"
#include "server/options.h"
#include "yaml-cpp/yaml.h"

extern char** environ;

namespace slimfill::server {
namespace {

constexpr char kDefaultModel[] = "models/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf";
constexpr char kEnvironmentPrefix[] = "SLIMFILL_";
// Variables with our prefix that are not options of this program.
const char* const kOtherVariables[] = {"SLIMFILL_HOME", "SLIMFILL_VENV", "SLIMFILL_CONFIG", "SLIMFILL_SERVER",
                                       "SLIMFILL_TOKEN"};

std::vector<std::string> Keys() {
  std::vector<std::string> keys;
  for (const Option& option : Options()) keys.push_back(option.key);
  return keys;
}

std::string VariableOf(absl::string_view key) {
  return kEnvironmentPrefix + absl::AsciiStrToUpper(absl::StrReplaceAll(key, {{"-", "_"}}));
}

std::string DidYouMean(absl::string_view prefix, absl::string_view closest) {
  return closest.empty() ? "; see --help for all" : absl::StrCat("; did you mean '", prefix, closest, "'?");
}

// A value and where it came from, such as "flag --listen".
struct Sourced {
  std::string value, source;
};
using Values = std::map<std::string, Sourced>;

struct Arguments {
  Values values;
  std::string config_file;
  bool help = false, version = false;
};

absl::StatusOr<Arguments> ParseArguments(absl::Span<const std::string> arguments) {
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  Arguments parsed;
  std::map<std::string, std::string> texts;
  app.add_flag("-h,--help", parsed.help);
  app.add_flag("--version", parsed.version);
  app.add_option("--config", parsed.config_file);
  for (const Option& option : Options()) {
    auto* flag = app.add_option("--" + option.key, texts[option.key])->allow_extra_args(false);
    flag->expected(option.is_switch ? 0 : 1, 1);
  }
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 wants them
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(absl::StrCat(error.what(), "; see --help"));
  }
  for (const std::string& extra : app.remaining()) {
    const std::string name(absl::StripPrefix(extra.substr(0, extra.find('=')), "--"));
    return absl::InvalidArgumentError(
        absl::StrCat("unknown argument '", extra, "'", DidYouMean("--", ClosestName(name, Keys()))));
  }
  for (const Option& option : Options()) {
    if (app.count("--" + option.key) == 0) continue;
    const std::string& text = texts[option.key];
    parsed.values[option.key] = {option.is_switch && text.empty() ? "true" : text, "--" + option.key};
  }
  return parsed;
}

absl::StatusOr<Values> ReadYaml(const std::string& file) {
  Values values;
  try {
    const YAML::Node root = YAML::LoadFile(file);
    if (root.IsNull()) return values;
    if (!root.IsMap()) {
      return absl::InvalidArgumentError(absl::StrCat("config file ", file, ": must be a map of 'key: value' lines"));
    }
    const std::vector<std::string> keys = Keys();
    for (const auto& entry : root) {
      const std::string key = entry.first.as<std::string>();
      const std::string place = absl::StrCat(file, ":", entry.first.Mark().line + 1);
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat(place, ": unknown key '", key, "'", DidYouMean("", ClosestName(key, keys))));
      }
      if (!entry.second.IsScalar()) {
        return absl::InvalidArgumentError(absl::StrCat(place, ": ", key, " needs a single value"));
      }
      if (!values.try_emplace(key, Sourced{entry.second.Scalar(), absl::StrCat(place, ": ", key)}).second) {
        return absl::InvalidArgumentError(absl::StrCat(place, ": key '", key, "' is there twice"));
      }
    }
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("config file ", file, ": ", error.what()));
  }
  return values;
}

// Container platforms inject variables such as SLIMFILL_SERVICE_HOST, so a name with our prefix is an error only when
// it is close to one of ours.
absl::StatusOr<Values> ReadVariables(const Environment& environment) {
  std::map<std::string, std::string> key_of;
  std::vector<std::string> names(std::begin(kOtherVariables), std::end(kOtherVariables));
  for (const Option& option : Options()) {
    names.push_back(VariableOf(option.key));
    key_of[names.back()] = option.key;
  }
  Values values;
  for (const auto& [name, value] : environment) {
    if (!absl::StartsWith(name, kEnvironmentPrefix)) continue;
    if (const auto known = key_of.find(name); known != key_of.end()) {
      values[known->second] = {value, name};
      continue;
    }
    const std::string closest = ClosestName(name, names);
    if (!closest.empty() && closest != name) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown environment variable '", name, "'; did you mean '", closest, "'?"));
    }
  }
  return values;
}

absl::Status CheckTogether(const ServerConfig& config) {
  if (config.kv_store_ca.empty() != config.kv_store_cert.empty() ||
      config.kv_store_ca.empty() != config.kv_store_key.empty()) {
    return absl::InvalidArgumentError("--kv-store-ca, --kv-store-cert and --kv-store-key must be given together");
  }
  if (config.tls_cert.empty() != config.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key must be given together");
  }
  if (!config.tls_client_ca.empty() && config.tls_cert.empty()) {
    return absl::InvalidArgumentError("--tls-client-ca needs --tls-cert and --tls-key");
  }
  if (!IsLoopback(config.listen) && config.tls_cert.empty() && !config.insecure_listen_any) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--listen ", config.listen,
        " is open to other machines without encryption: give --tls-cert and --tls-key, or --insecure-listen-any true "
        "where the network is trusted"));
  }
  return absl::OkStatus();
}

absl::Status FindModel(const Environment& environment, ServerConfig& config) {
  const bool is_default = config.model.empty();
  if (is_default) config.model = (std::filesystem::path(SlimfillHome(environment)) / kDefaultModel).string();
  std::error_code error;
  if (std::filesystem::is_regular_file(config.model, error)) return absl::OkStatus();
  if (!is_default && std::filesystem::is_directory(config.model, error)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      is_default
          ? absl::StrCat("no model: ", config.model,
                         " is not there; run scripts/setup.sh, which fetches it, or give --model FILE or DIRECTORY")
          : absl::StrCat("--model ", config.model,
                         " is not there: give a GGUF file, or a directory with config.json, tokenizer.json and "
                         "safetensors, or run scripts/setup.sh and leave --model out"));
}

std::string Describe(const ServerConfig& config, const Values& values) {
  std::vector<std::string> parts;
  for (const Option& option : Options()) {
    const auto found = values.find(option.key);
    parts.push_back(absl::StrCat(option.key, "=", option.get(config),
                                 found == values.end() ? "" : absl::StrCat(" (", found->second.source, ")")));
  }
  return absl::StrJoin(parts, " ");
}

}  // namespace

absl::StatusOr<LoadedConfig> LoadConfig(absl::Span<const std::string> arguments, const Environment& environment) {
  SLIMFILL_ASSIGN_OR_RETURN(Arguments flags, ParseArguments(arguments));
  LoadedConfig loaded;
  loaded.show_help = flags.help;
  loaded.show_version = flags.version;
  if (flags.help || flags.version) return loaded;

  std::string file = flags.config_file;
  if (const auto variable = environment.find("SLIMFILL_CONFIG"); file.empty() && variable != environment.end()) {
    file = variable->second;
  }
  SLIMFILL_ASSIGN_OR_RETURN(const Values variables, ReadVariables(environment));
  Values values = flags.values;
  values.insert(variables.begin(), variables.end());  // insert never replaces: the earlier source wins
  if (!file.empty()) {
    SLIMFILL_ASSIGN_OR_RETURN(const Values from_file, ReadYaml(file));
    values.insert(from_file.begin(), from_file.end());
  }
  for (const Option& option : Options()) {
    const auto found = values.find(option.key);
    if (found == values.end()) continue;
    if (absl::Status status = option.set(loaded.config, found->second.value); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(found->second.source, ": ", status.message()));
    }
  }
  SLIMFILL_RETURN_IF_ERROR(CheckTogether(loaded.config));
  SLIMFILL_RETURN_IF_ERROR(FindModel(environment, loaded.config));
  loaded.effective = Describe(loaded.config, values);
  return loaded;
}

Environment ReadEnvironment() {
  Environment environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(*entry, absl::MaxSplits('=', 1));
    environment.emplace(std::string(pair.first), std::string(pair.second));
  }
  return environment;
}

std::string HelpText() {
  std::string text =
      "slimfill-server: answers questions over very long prompts, over gRPC.\n\n"
      "Usage: slimfill-server [--KEY VALUE ...]\n\n"
      "Every option is also an environment variable (SLIMFILL_<KEY>, as in SLIMFILL_MAX_QUEUE) and a key of the YAML\n"
      "file named by --config. A flag wins over the environment, that over the file, that over the default.\n\n";
  const ServerConfig defaults;
  for (const Option& option : Options()) {
    const std::string value = option.get(defaults);
    absl::StrAppend(&text, "  --", option.key, std::string(26 - std::min<size_t>(25, option.key.size()), ' '),
                    option.help, value.empty() ? "" : absl::StrCat(" [", value, "]"), "\n");
  }
  absl::StrAppend(&text, "  --config", std::string(20, ' '), "YAML file\n", "  --version, --help\n\n",
                  "Exit codes: 0 stopped as asked; 1 cannot start (port in use, model unreadable); 2 wrong options.\n");
  return text;
}

std::string SlimfillHome(const Environment& environment) {
  if (const auto home = environment.find("SLIMFILL_HOME"); home != environment.end() && !home->second.empty()) {
    return home->second;
  }
  const auto user = environment.find("HOME");
  return absl::StrCat(user == environment.end() ? "" : user->second, "/.cache/slimfill");
}

bool IsLoopback(absl::string_view address) {
  const absl::StatusOr<ListenAddress> parsed = ParseEndpoint(address);
  return parsed.ok() && parsed->loopback;
}

}  // namespace slimfill::server
