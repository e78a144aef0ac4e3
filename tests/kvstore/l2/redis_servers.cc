#include "tests/kvstore/l2/redis_servers.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "hiredis/hiredis.h"
#include "kvstore/l2/hash_slot.h"

namespace slimfill::kvstore {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(1);
constexpr absl::Duration kPollInterval = absl::Milliseconds(20);
constexpr int kMasters = 3;

std::string TextOf(const redisReply& reply) {
  switch (reply.type) {
    case REDIS_REPLY_INTEGER:
      return absl::StrCat(reply.integer);
    case REDIS_REPLY_NIL:
      return "(nil)";
    case REDIS_REPLY_ARRAY: {
      std::string text;
      for (size_t i = 0; i < reply.elements; ++i) absl::StrAppend(&text, i > 0 ? " " : "", TextOf(*reply.element[i]));
      return text;
    }
    default:
      return std::string(reply.str, reply.len);
  }
}

// Empty when the server does not answer.
std::string AskOnce(uint16_t port, const std::vector<std::string>& words) {
  const std::unique_ptr<redisContext, decltype(&redisFree)> context(
      redisConnectWithTimeout("127.0.0.1", port, {.tv_sec = 10, .tv_usec = 0}), redisFree);
  if (context == nullptr || context->err != 0) return "";
  redisSetTimeout(context.get(), {.tv_sec = 60, .tv_usec = 0});
  std::vector<const char*> texts;
  std::vector<size_t> sizes;
  for (const std::string& word : words) {
    texts.push_back(word.data());
    sizes.push_back(word.size());
  }
  auto* reply = static_cast<redisReply*>(
      redisCommandArgv(context.get(), static_cast<int>(words.size()), texts.data(), sizes.data()));
  if (reply == nullptr) return "";
  std::string text = TextOf(*reply);
  freeReplyObject(reply);
  return text;
}

}  // namespace

TempFolder::TempFolder() : path_(std::filesystem::temp_directory_path() / "slimfill-test-XXXXXX") {
  SLIMFILL_CHECK(mkdtemp(path_.data()) != nullptr);
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void WriteFile(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

uint16_t FreePort() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof(address);
  SLIMFILL_CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0);
  SLIMFILL_CHECK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  close(listener);
  return ntohs(address.sin_port);
}

RedisServer::RedisServer(std::vector<std::string> settings) : settings_(std::move(settings)) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    port_ = FreePort();
    bus_port_ = FreePort();
    if (Start()) return;
  }
  std::fprintf(stderr, "redis-server does not start; its log:\n");
  std::ifstream log(folder_.File("log"));
  for (std::string line; std::getline(log, line);) std::fprintf(stderr, "%s\n", line.c_str());
  std::abort();
}

bool RedisServer::Start() {
  std::vector<std::string> command = {REDIS_SERVER,
                                      "--port",
                                      absl::StrCat(port_),
                                      "--bind",
                                      "127.0.0.1",
                                      "--unixsocket",
                                      unix_path(),
                                      "--cluster-port",
                                      absl::StrCat(bus_port_),
                                      "--dir",
                                      folder_.path(),
                                      "--logfile",
                                      folder_.File("log"),
                                      "--save",
                                      "",
                                      "--appendonly",
                                      "no",
                                      "--daemonize",
                                      "no"};
  command.insert(command.end(), settings_.begin(), settings_.end());
  process_ = std::make_unique<ChildProcess>(command);
  const absl::Time give_up = absl::Now() + kPatience;
  while (absl::Now() < give_up) {
    if (process_->HasEnded()) return false;
    // Its own id, or another test's server that was faster on this port would do.
    const std::string pid = absl::StrCat("process_id:", process_->pid());
    const std::string info = AskOnce(port_, {"INFO", "server"});
    if (absl::StrContains(info, pid) || absl::StartsWith(info, "NOAUTH")) return true;
    absl::SleepFor(kPollInterval);
  }
  return false;
}

void RedisServer::Kill() {
  process_->Signal(SIGKILL);
  process_->Wait();
}

void RedisServer::Restart() {
  for (int attempt = 0; attempt < 10; ++attempt) {
    if (Start()) return;
  }
  std::fprintf(stderr, "redis-server does not start again on port %d\n", port_);
  std::abort();
}

void RedisServer::Resume() { process_->Signal(SIGCONT); }

std::string RedisServer::Ask(const std::vector<std::string>& words) const { return AskOnce(port_, words); }

void RedisServer::AskUntil(const std::vector<std::string>& words, const std::string& wanted) const {
  const absl::Time give_up = absl::Now() + kPatience;
  std::string reply;
  while (absl::Now() < give_up) {
    reply = Ask(words);
    if (absl::StrContains(reply, wanted)) return;
    absl::SleepFor(kPollInterval);
  }
  std::fprintf(stderr, "redis-server on port %d does not say '%s', but '%s'\n", port_, wanted.c_str(), reply.c_str());
  std::abort();
}

RedisTestCluster::RedisTestCluster(const std::vector<std::string>& settings) {
  std::vector<std::string> all = {"--cluster-enabled",      "yes",  "--cluster-require-full-coverage", "no",
                                  "--cluster-node-timeout", "60000"};
  all.insert(all.end(), settings.begin(), settings.end());
  for (int i = 0; i < kMasters; ++i) {
    RedisServer& master = *masters_.emplace_back(std::make_unique<RedisServer>(all));
    const int first = kHashSlots * i / kMasters, last = kHashSlots * (i + 1) / kMasters - 1;
    SLIMFILL_CHECK(master.Ask({"CLUSTER", "ADDSLOTSRANGE", absl::StrCat(first), absl::StrCat(last)}) == "OK");
    SLIMFILL_CHECK(master.Ask({"CLUSTER", "SET-CONFIG-EPOCH", absl::StrCat(i + 1)}) == "OK");
  }
  for (int i = 1; i < kMasters; ++i) {
    SLIMFILL_CHECK(masters_[0]->Ask({"CLUSTER", "MEET", "127.0.0.1", absl::StrCat(masters_[i]->port()),
                                     absl::StrCat(masters_[i]->bus_port())}) == "OK");
  }
  for (const auto& master : masters_) {
    master->AskUntil({"CLUSTER", "INFO"}, "cluster_slots_assigned:16384");
    master->AskUntil({"CLUSTER", "INFO"}, "cluster_state:ok");
  }
}

int RedisTestCluster::OwnerOf(int slot) const {
  for (int i = 0; i < kMasters; ++i) {
    if (slot < kHashSlots * (i + 1) / kMasters) return i;
  }
  return kMasters - 1;
}

}  // namespace slimfill::kvstore
