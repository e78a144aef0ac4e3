#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <vector>

namespace slimfill::server {
namespace {

using ::testing::HasSubstr;

class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() : folder_(std::filesystem::path(::testing::TempDir()) / ("config_test." + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder_);
    model_ = Write("model.gguf", "");
  }
  ~ConfigTest() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = (folder_ / name).string();
    std::ofstream(path) << text;
    return path;
  }
  // With a model that exists, unless the arguments name one.
  absl::StatusOr<LoadedConfig> Load(std::vector<std::string> arguments, Environment environment = {}) {
    environment.emplace("SLIMFILL_MODEL", model_);
    return LoadConfig(arguments, environment);
  }
  std::string Error(std::vector<std::string> arguments, Environment environment = {}) {
    const auto loaded = Load(std::move(arguments), std::move(environment));
    if (loaded.ok()) return "no error";
    EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(loaded.status().message());
  }

  std::filesystem::path folder_;
  std::string model_;
};

TEST_F(ConfigTest, DefaultsAreLoopbackAndEmbedded) {
  const auto loaded = Load({});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config.listen, "127.0.0.1:8080");
  EXPECT_EQ(loaded->config.kv_store, "embedded");
  EXPECT_EQ(loaded->config.kv_memory_bytes, int64_t{4} << 30);
  EXPECT_TRUE(loaded->config.reflection);
}

TEST_F(ConfigTest, FlagWinsOverEnvironmentOverFileOverDefault) {
  const std::string file = Write("c.yaml", "max-queue: 1\nmax-running: 1\nchunk-tokens: 1\n");
  const auto loaded =
      Load({"--config", file, "--max-queue", "3"}, {{"SLIMFILL_MAX_QUEUE", "2"}, {"SLIMFILL_MAX_RUNNING", "2"}});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config.max_queue, 3);
  EXPECT_EQ(loaded->config.max_running, 2);
  EXPECT_EQ(loaded->config.chunk_tokens, 1);
  EXPECT_EQ(loaded->config.max_message_mib, 64);
}

TEST_F(ConfigTest, ConfigFileMayBeNamedByTheEnvironment) {
  const auto loaded = Load({}, {{"SLIMFILL_CONFIG", Write("c.yaml", "log-level: debug\n")}});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config.log_level, "debug");
}

TEST_F(ConfigTest, EffectiveConfigNamesEachSource) {
  const std::string file = Write("c.yaml", "plan: off\n");
  const auto loaded = Load({"--config", file, "--threads=2"}, {{"SLIMFILL_BACKEND", "ref"}});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(loaded->effective, HasSubstr("threads=2 (--threads)"));
  EXPECT_THAT(loaded->effective, HasSubstr("backend=ref (SLIMFILL_BACKEND)"));
  EXPECT_THAT(loaded->effective, HasSubstr("plan=off (" + file + ":1: plan)"));
  EXPECT_THAT(loaded->effective, HasSubstr("listen=127.0.0.1:8080 "));
  EXPECT_THAT(loaded->effective, HasSubstr("kv-memory=4GiB "));
}

TEST_F(ConfigTest, UnknownNamesAreErrorsWithASuggestion) {
  EXPECT_EQ(Error({"--max-queu", "3"}), "unknown argument '--max-queu'; did you mean '--max-queue'?");
  EXPECT_THAT(Error({"--frobnicate"}), HasSubstr("unknown argument '--frobnicate'; see --help"));
  EXPECT_THAT(Error({"stray"}), HasSubstr("unknown argument 'stray'"));
  const std::string file = Write("c.yaml", "listen: 127.0.0.1:1\nmax_queue: 3\n");
  EXPECT_EQ(Error({"--config", file}), file + ":2: unknown key 'max_queue'; did you mean 'max-queue'?");
  EXPECT_EQ(Error({}, {{"SLIMFILL_MAX_QEUE", "3"}}),
            "unknown environment variable 'SLIMFILL_MAX_QEUE'; did you mean 'SLIMFILL_MAX_QUEUE'?");
}

TEST_F(ConfigTest, VariablesThatAContainerPlatformInjectsAreIgnored) {
  EXPECT_EQ(Error({}, {{"SLIMFILL_SERVICE_HOST", "10.0.0.1"},
                       {"SLIMFILL_PORT", "tcp://10.0.0.1:8080"},
                       {"SLIMFILL_PORT_8080_TCP_ADDR", "10.0.0.1"},
                       {"SLIMFILL_HOME", "/x"}}),
            "no error");
}

TEST_F(ConfigTest, BadValuesNameSourceValueAndWhatIsAllowed) {
  EXPECT_EQ(Error({"--max-queue", "0"}), "--max-queue: '0' is not allowed: use a whole number from 1 to 1048576");
  EXPECT_EQ(Error({"--linear", "int4"}), "--linear: 'int4' is not allowed: use bf16, int8");
  EXPECT_EQ(Error({}, {{"SLIMFILL_BACKEND", "tpu"}}), "SLIMFILL_BACKEND: 'tpu' is not allowed: use cpu, ref, cuda");
  const std::string file = Write("c.yaml", "\ndrain-timeout: soon\n");
  EXPECT_THAT(Error({"--config", file}), HasSubstr(file + ":2: drain-timeout: 'soon' is not allowed: use a duration"));
  for (const char* value : {"", "x", "-1", "1.5", "99999999999999999999", "nan"}) {
    EXPECT_THAT(Error({std::string("--max-running=") + value}), HasSubstr("--max-running")) << value;
  }
  for (const char* value : {"nan", "inf", "-0.1", "1.1", "x"}) {
    EXPECT_THAT(Error({std::string("--randomized-dense-share=") + value}), HasSubstr("a number from 0 to 1")) << value;
  }
  for (const char* value : {"8080", ":8080", "host:", "host:x", "host:65536", "host:-1"}) {
    EXPECT_THAT(Error({std::string("--listen=") + value}), HasSubstr("HOST:PORT")) << value;
  }
  EXPECT_THAT(Error({"--kv-store=unix:"}), HasSubstr("unix:PATH"));
  EXPECT_THAT(Error({"--metrics-listen=unix:/tmp/metrics"}), HasSubstr("HOST:PORT"));
  EXPECT_THAT(Error({"--listen"}), HasSubstr("--listen"));
}

TEST_F(ConfigTest, BadFilesAreErrors) {
  EXPECT_THAT(Error({"--config", "/does/not/exist.yaml"}), HasSubstr("config file /does/not/exist.yaml"));
  EXPECT_THAT(Error({"--config", Write("a.yaml", "- 1\n- 2\n")}), HasSubstr("must be a map"));
  EXPECT_THAT(Error({"--config", Write("b.yaml", "listen: [1, 2]\n")}), HasSubstr("needs a single value"));
  EXPECT_THAT(Error({"--config", Write("c.yaml", "max-queue: 1\nmax-queue: 2\n")}), HasSubstr("is there twice"));
  EXPECT_THAT(Error({"--config", Write("d.yaml", "listen: {a: [1\n")}), HasSubstr("config file"));
  EXPECT_EQ(Error({"--config", Write("e.yaml", "# nothing\n")}), "no error");
}

TEST_F(ConfigTest, SwitchesMayStandAlone) {
  const auto loaded = Load({"--insecure-listen-any", "--listen", "0.0.0.0:0", "--reflection=false"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(loaded->config.insecure_listen_any);
  EXPECT_FALSE(loaded->config.reflection);
}

TEST_F(ConfigTest, ListeningBeyondThisMachineNeedsTlsOrTheFlag) {
  EXPECT_THAT(Error({"--listen", "0.0.0.0:8080"}), HasSubstr("--insecure-listen-any"));
  EXPECT_THAT(Error({"--listen", "[::]:8080"}), HasSubstr("--insecure-listen-any"));
  EXPECT_EQ(Error({"--listen", "0.0.0.0:8080", "--tls-cert", "c", "--tls-key", "k"}), "no error");
  EXPECT_THAT(Error({"--tls-cert", "c"}), HasSubstr("must be given together"));
  EXPECT_THAT(Error({"--tls-client-ca", "c"}), HasSubstr("needs --tls-cert"));
}

TEST_F(ConfigTest, MissingModelNamesTheSetupScript) {
  const auto loaded = LoadConfig(std::vector<std::string>{}, {{"SLIMFILL_HOME", folder_.string()}});
  ASSERT_FALSE(loaded.ok());
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("scripts/setup.sh"));
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr(folder_.string()));
  EXPECT_THAT(Error({"--model", "/does/not/exist.gguf"}),
              HasSubstr("--model /does/not/exist.gguf is not there: give a GGUF file, or a directory"));
}

TEST_F(ConfigTest, HelpAndVersionNeedNothingElse) {
  EXPECT_TRUE(LoadConfig(std::vector<std::string>{"--help"}, {})->show_help);
  EXPECT_TRUE(LoadConfig(std::vector<std::string>{"--version"}, {})->show_version);
  EXPECT_THAT(HelpText(), HasSubstr("--max-queue "));
  EXPECT_THAT(HelpText(), HasSubstr("[127.0.0.1:8080]"));
}

TEST_F(ConfigTest, SizesTakeBinaryUnitsAndNothingElse) {
  EXPECT_EQ(Load({"--kv-tenant-memory=all"})->config.kv_tenant_memory_bytes, 0);
  EXPECT_EQ(Load({"--kv-tenant-memory=1GiB"})->config.kv_tenant_memory_bytes, int64_t{1} << 30);
  EXPECT_EQ(Load({"--kv-memory=1000"})->config.kv_memory_bytes, 1000);
  EXPECT_EQ(Load({"--kv-memory=512MiB"})->config.kv_memory_bytes, int64_t{512} << 20);
  EXPECT_EQ(Load({"--kv-pages-memory=auto"})->config.kv_pages_memory_bytes, 0);
  for (const char* bad : {"", "0", "-1", "GiB", "4GB", "4 GiBs", "1.5GiB", "9999999TiB", "99999999999999999999"}) {
    EXPECT_THAT(Error({std::string("--kv-memory=") + bad}), HasSubstr("--kv-memory")) << bad;
  }
}

TEST(IsLoopback, TellsThisMachineFromOthers) {
  for (const char* yes : {"127.0.0.1:80", "127.9.9.9:0", "localhost:80", "[::1]:80", "unix:/tmp/s"}) {
    EXPECT_TRUE(IsLoopback(yes)) << yes;
  }
  for (const char* no :
       {"0.0.0.0:80", "[::]:80", "10.0.0.1:80", "127.0.0.1.example.com:80", "127.0.0.256:80", "host:1"}) {
    EXPECT_FALSE(IsLoopback(no)) << no;
  }
}

}  // namespace
}  // namespace slimfill::server
