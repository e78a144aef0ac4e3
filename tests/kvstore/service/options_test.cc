#include "kvstore/service/options.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/key_pair.h"

namespace slimfill::kvstore {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

CommandLine Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "slimfill-kvstore");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

// What is printed for a command line that must be refused.
std::string Refusal(const std::vector<const char*>& arguments) {
  ::testing::internal::CaptureStderr();
  const CommandLine parsed = Parse(arguments);
  EXPECT_FALSE(parsed.options.has_value());
  EXPECT_EQ(parsed.exit_code, 2);
  return ::testing::internal::GetCapturedStderr();
}

TEST(KvStoreOptions, DefaultsServeThisMachineOnly) {
  const KvStoreOptions options = Parse({}).options.value();
  EXPECT_EQ(FormatListenAddress(options.listen), "127.0.0.1:7390");
  EXPECT_TRUE(options.listen.loopback);
  EXPECT_FALSE(options.metrics_listen.has_value());
  EXPECT_EQ(options.store.memory_bytes, uint64_t{4} << 30);
  EXPECT_EQ(options.store.tenant_bytes, 0u);
  EXPECT_EQ(options.store.lease_ttl, absl::Seconds(10));
  EXPECT_EQ(options.log_level, "info");
}

TEST(KvStoreOptions, ReadsFlags) {
  const KvStoreOptions options = Parse({"--listen", "[::1]:0", "--memory=512MiB", "--metrics-listen", "127.0.0.1:9391",
                                        "--lease-ttl", "1500ms", "--log-level", "debug"})
                                     .options.value();
  EXPECT_EQ(options.listen.host, "::1");
  EXPECT_EQ(options.store.memory_bytes, uint64_t{512} << 20);
  EXPECT_EQ(options.metrics_listen->port, 9391);
  EXPECT_EQ(options.store.lease_ttl, absl::Milliseconds(1500));
  EXPECT_EQ(options.log_level, "debug");
}

TEST(KvStoreOptions, EnvironmentFillsInForFlagsAndYieldsToThem) {
  setenv("SLIMFILL_KVSTORE_MEMORY", "1GiB", 1);
  setenv("SLIMFILL_KVSTORE_LISTEN", "127.0.0.1:1234", 1);
  const KvStoreOptions options = Parse({"--listen", "127.0.0.1:5678"}).options.value();
  unsetenv("SLIMFILL_KVSTORE_MEMORY");
  unsetenv("SLIMFILL_KVSTORE_LISTEN");
  EXPECT_EQ(options.store.memory_bytes, uint64_t{1} << 30);
  EXPECT_EQ(options.listen.port, 5678);
}

TEST(KvStoreOptions, RefusesAddressesThatOtherMachinesReachUnlessTold) {
  EXPECT_THAT(Refusal({"--listen", "0.0.0.0:7390"}),
              AllOf(HasSubstr("0.0.0.0:7390"), HasSubstr("other machines"), HasSubstr("--insecure-listen-any")));
  EXPECT_THAT(Refusal({"--metrics-listen", "0.0.0.0:9391"}),
              AllOf(HasSubstr("--metrics-listen"), Not(HasSubstr("--tls-cert"))));
  EXPECT_FALSE(Parse({"--listen", "0.0.0.0:7390", "--insecure-listen-any"}).options.value().listen.loopback);
}

TEST(KvStoreOptions, MutualTlsNeedsAllItsFilesAndOpensTheStoreToOtherMachines) {
  const testing::KeyPair keys = testing::MakeKeyPair("store");
  const std::string base = absl::StrCat(::testing::TempDir(), "kv_options_test.", getpid());
  const std::string cert = base + ".cert", key = base + ".key";
  std::ofstream(cert) << keys.certificate;
  std::ofstream(key) << keys.key;
  const KvStoreOptions options = Parse({"--listen", "0.0.0.0:7390", "--tls-cert", cert.c_str(), "--tls-key",
                                        key.c_str(), "--tls-client-ca", cert.c_str()})
                                     .options.value();
  EXPECT_EQ(options.tls->certificate, keys.certificate);
  EXPECT_EQ(options.tls->key, keys.key);
  EXPECT_EQ(options.tls->peer_ca, keys.certificate);
  EXPECT_THAT(Refusal({"--tls-cert", cert.c_str(), "--tls-key", key.c_str()}), HasSubstr("--tls-client-ca"));
  EXPECT_THAT(Refusal({"--tls-cert", "/none", "--tls-key", key.c_str(), "--tls-client-ca", cert.c_str()}),
              HasSubstr("--tls-cert /none: is not a readable PEM file"));
  std::remove(cert.c_str());
  std::remove(key.c_str());
}

TEST(KvStoreOptions, NamesTheFlagAndTheFormOfWhatItRefuses) {
  EXPECT_THAT(Refusal({"--memory", "4GB"}), AllOf(HasSubstr("--memory"), HasSubstr("as in 4GiB")));
  EXPECT_EQ(Parse({"--tenant-memory", "1GiB"}).options->store.tenant_bytes, uint64_t{1} << 30);
  EXPECT_THAT(Refusal({"--tenant-memory", "some"}), AllOf(HasSubstr("--tenant-memory"), HasSubstr("as in 4GiB")));
  EXPECT_THAT(Refusal({"--listen", "7390"}), AllOf(HasSubstr("--listen"), HasSubstr("HOST:PORT")));
  EXPECT_THAT(Refusal({"--lease-ttl", "soon"}), AllOf(HasSubstr("--lease-ttl"), HasSubstr("as in 10s")));
  EXPECT_THAT(Refusal({"--metrics-listen", "x"}), HasSubstr("--metrics-listen"));
  EXPECT_THAT(Refusal({"--memroy", "4GiB"}), HasSubstr("--memroy"));
}

TEST(KvStoreOptions, AnL2IsOptionalAndReadsItsPasswordFromTheEnvironment) {
  EXPECT_FALSE(Parse({}).options->l2.has_value());
  setenv("SLIMFILL_KVSTORE_L2_PASSWORD", "secret", 1);
  const KvStoreOptions options =
      Parse({"--l2", "redis://127.0.0.1:6379", "--l2-user", "slimfill", "--l2-ttl", "2h"}).options.value();
  unsetenv("SLIMFILL_KVSTORE_L2_PASSWORD");
  EXPECT_EQ(FormatL2Address(options.l2->address), "redis://127.0.0.1:6379");
  EXPECT_EQ(options.l2->user, "slimfill");
  EXPECT_EQ(options.l2->password, "secret");
  EXPECT_EQ(options.l2->ttl, absl::Hours(2));
}

TEST(KvStoreOptions, NamesWhatIsWrongWithAnL2) {
  EXPECT_THAT(Refusal({"--l2", "127.0.0.1:6379"}), AllOf(HasSubstr("--l2: "), HasSubstr("redis://HOST:PORT")));
  EXPECT_THAT(Refusal({"--l2", "redis://10.0.0.1:6379"}), HasSubstr("--l2-key-file"));
  EXPECT_THAT(Refusal({"--l2-key-file", "/k"}), HasSubstr("give its address with --l2"));
  EXPECT_THAT(Refusal({"--l2", "redis://127.0.0.1:1", "--l2-ttl", "0s"}), HasSubstr("--l2-ttl"));
}

TEST(KvStoreOptions, HelpAndVersionAreNoErrors) {
  ::testing::internal::CaptureStdout();
  for (const char* flag : {"--help", "--version"}) {
    const CommandLine parsed = Parse({flag});
    EXPECT_FALSE(parsed.options.has_value());
    EXPECT_EQ(parsed.exit_code, 0);
  }
  EXPECT_THAT(::testing::internal::GetCapturedStdout(), HasSubstr("--lease-ttl"));
}

}  // namespace
}  // namespace slimfill::kvstore
