// The L2 on a real Redis of this machine, for bench_kv.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "base/clock.h"
#include "kvstore/l2/redis_cluster.h"

namespace slimfill::kvstore {

// A redis-server on a free port and a unix socket; gone with the object.
class RedisProcess {
 public:
  // Null where redis-server is not installed. REQUIRES: this process has one thread.
  static std::unique_ptr<RedisProcess> Start();
  ~RedisProcess();
  RedisProcess(const RedisProcess&) = delete;
  RedisProcess& operator=(const RedisProcess&) = delete;

  pid_t pid() const { return pid_; }
  L2Address tcp() const { return {.seeds = {{.host = "127.0.0.1", .port = port_, .loopback = true}}}; }
  L2Address unix_socket() const { return {.seeds = {{.loopback = true, .unix_path = folder_ + "/redis.sock"}}}; }

 private:
  RedisProcess(pid_t pid, uint16_t port, std::string folder) : pid_(pid), port_(port), folder_(std::move(folder)) {}

  const pid_t pid_;
  const uint16_t port_;
  const std::string folder_;
};

// One value in 4 MiB blocks, each of which Redis keeps in strings of 256 KiB.
class RedisWay {
 public:
  // Waits until the server answers. `clock` and `value` outlive it.
  RedisWay(const L2Address& address, bool encrypted, absl::Span<const std::byte> value, const Clock& clock);

  void Put();
  // Looks the blocks up and reads them, as a promotion does.
  void Fetch();
  const std::vector<std::byte>& fetched() const { return fetched_; }

 private:
  std::unique_ptr<RedisCluster> l2_;
  std::vector<BlockKey> keys_;
  std::vector<L2Write> writes_;
  std::vector<std::byte> fetched_;
};

}  // namespace slimfill::kvstore
