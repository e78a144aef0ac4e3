#include "kvstore/bench/redis_way.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/must.h"
#include "kvstore/api/block_key.h"

namespace slimfill::kvstore {
namespace {

constexpr size_t kBlockBytes = size_t{4} << 20;
constexpr absl::Duration kCallTime = absl::Seconds(30);

std::string FindProgram(const char* name) {
  const char* path = std::getenv("PATH");
  for (const absl::string_view folder : absl::StrSplit(path == nullptr ? "" : path, ':')) {
    std::string file = absl::StrCat(folder, "/", name);
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

uint16_t FreePort() {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof(address);
  bind(listener, reinterpret_cast<sockaddr*>(&address), size);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  close(listener);
  return ntohs(address.sin_port);
}

[[noreturn]] void RunRedis(const std::string& program, uint16_t port, const std::string& folder) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const std::string number = absl::StrCat(port), socket = folder + "/redis.sock";
  const char* const arguments[] = {
      program.c_str(), "--port",    number.c_str(), "--bind", "127.0.0.1", "--unixsocket", socket.c_str(), "--dir",
      folder.c_str(),  "--logfile", "log",          "--save", "",          "--appendonly", "no",           nullptr};
  execv(program.c_str(), const_cast<char* const*>(arguments));
  _exit(127);
}

}  // namespace

std::unique_ptr<RedisProcess> RedisProcess::Start() {
  const std::string program = FindProgram("redis-server");
  if (program.empty()) return nullptr;
  std::string folder = std::filesystem::temp_directory_path() / "slimfill-bench-redis-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return nullptr;
  const uint16_t port = FreePort();
  const pid_t pid = fork();
  if (pid == 0) RunRedis(program, port, folder);
  return std::unique_ptr<RedisProcess>(new RedisProcess(pid, port, folder));
}

RedisProcess::~RedisProcess() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

RedisWay::RedisWay(const L2Address& address, bool encrypted, absl::Span<const std::byte> value, const Clock& clock)
    : fetched_(value.size()) {
  RedisOptions options;
  options.address = address;
  if (encrypted) options.key = SealKey{{1}};
  l2_ = Must(RedisCluster::Create(options, clock, nullptr));
  for (size_t from = 0; from < value.size(); from += kBlockBytes) {
    keys_.push_back(RandomKey());
    writes_.push_back({keys_.back(), {}, 0, value.subspan(from, kBlockBytes)});
  }
  const absl::Time give_up = absl::Now() + kCallTime;
  while (!l2_->Put({writes_.data(), 1}, absl::Now() + kCallTime).front().ok() && absl::Now() < give_up) {
    absl::SleepFor(absl::Milliseconds(50));
  }
  Put();
}

void RedisWay::Put() {
  for (const absl::Status& status : l2_->Put(writes_, absl::Now() + kCallTime)) Must(status);
}

void RedisWay::Fetch() {
  const auto entries = l2_->Find(keys_, absl::Now() + kCallTime);
  std::vector<L2Read> reads;
  absl::Span<std::byte> free = absl::MakeSpan(fetched_);
  for (size_t i = 0; i < keys_.size(); ++i) {
    const L2Entry entry = Must(entries[i]);
    reads.push_back({keys_[i], entry, free.first(entry.bytes)});
    free.remove_prefix(entry.bytes);
  }
  for (const absl::Status& status : l2_->Get(reads, absl::Now() + kCallTime)) Must(status);
}

}  // namespace slimfill::kvstore
