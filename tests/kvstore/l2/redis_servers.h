// Real Redis servers for tests: on free ports of this machine's loopback, in a folder of their own, gone with the test.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/listen_address.h"
#include "kvstore/l2/l2_address.h"
#include "tests/kvstore/service/child_process.h"

struct redisReply;

namespace slimfill::kvstore {

// A folder that goes with its contents.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void WriteFile(const std::string& path, const std::string& text);

// A port that nobody listens on right now.
uint16_t FreePort();

class RedisServer {
 public:
  // Answers when this returns. `settings`: further ones, as in {"--maxmemory", "8mb"}.
  explicit RedisServer(std::vector<std::string> settings = {});

  ListenAddress address() const { return {.host = "127.0.0.1", .port = port_, .loopback = true}; }
  std::string unix_path() const { return folder_.File("redis.sock"); }
  uint16_t port() const { return port_; }
  uint16_t bus_port() const { return bus_port_; }

  void Kill();
  void Restart();  // after Kill, on the same port
  void Suspend() { process_->Suspend(); }
  void Resume();

  // The reply to a command, lists flattened with spaces; fails the test's process when there is none.
  std::string Ask(const std::vector<std::string>& words) const;
  // Asks again until the reply holds `wanted`. Fails after a minute.
  void AskUntil(const std::vector<std::string>& words, const std::string& wanted) const;

 private:
  bool Start();  // false when the port was taken meanwhile

  const TempFolder folder_;
  const std::vector<std::string> settings_;
  uint16_t port_ = 0, bus_port_ = 0;
  std::unique_ptr<ChildProcess> process_;
};

// Three masters that share the slots evenly and know one another.
class RedisTestCluster {
 public:
  explicit RedisTestCluster(const std::vector<std::string>& settings = {});

  RedisServer& master(int index) { return *masters_[index]; }
  L2Address address() const { return {.seeds = {masters_[0]->address(), masters_[1]->address()}}; }
  // The master that has the slot at first.
  int OwnerOf(int slot) const;
  std::string IdOf(int index) const { return masters_[index]->Ask({"CLUSTER", "MYID"}); }

 private:
  std::vector<std::unique_ptr<RedisServer>> masters_;
};

}  // namespace slimfill::kvstore
