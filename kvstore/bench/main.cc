// bench_kv: how fast blocks come out of the KV store and into it, each way beside what the machine can do at most on
// it, in turn.
//
// A round moves 32 MiB by every way: out of and into the store in this process, and one in another process by shared
// memory (limit of these: memcpy), over gRPC on loopback TCP and on a unix socket (limit of each: a raw socket of the
// same kind between the same two processes), and out of and into a Redis as the L2, on the same two kinds of sockets.
// Beside that, the time in which an attached client learns where 128 blocks lie (limit: a byte there and back on a raw
// unix socket). Prints JSON, one object.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/clock_seconds.h"
#include "base/logging.h"
#include "base/metrics.h"
#include "base/runtime.h"
#include "base/status.h"
#include "kvstore/bench/raw_socket.h"
#include "kvstore/bench/redis_way.h"
#include "kvstore/client/connect.h"
#include "kvstore/client/grpc_kv_store.h"
#include "kvstore/client/shm_connection.h"
#include "kvstore/core/local_store.h"
#include "kvstore/service/kv_server.h"
#include "kvstore/shm/protocol.h"
#include "nlohmann/json.hpp"

namespace slimfill::kvstore {
namespace {

using Json = nlohmann::json;

constexpr size_t kCallBytes = size_t{32} << 20;
constexpr absl::Duration kCallTime = absl::Seconds(30);

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "bench_kv: %s\n", std::string(status.message()).c_str());
  std::exit(1);
}
template <typename T>
T Check(absl::StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}
int CheckCall(int result, const char* what) {
  if (result < 0) Check(absl::ErrnoToStatus(errno, what));
  return result;
}

BlockKey KeyOf(size_t block_bytes, size_t index) {
  BlockKey key;
  const uint64_t name[2] = {block_bytes, index + 1};
  std::memcpy(key.bytes.data(), name, sizeof(name));
  return key;
}

// kCallBytes in blocks of one size, put and fetched in one call each.
class Blocks {
 public:
  explicit Blocks(size_t block_bytes) : bytes_(kCallBytes), fetched_(kCallBytes) {
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<std::byte>(i * 131 + (i >> 12));
    for (size_t i = 0; i < kCallBytes / block_bytes; ++i) {
      const BlockKey key = KeyOf(block_bytes, i);
      puts_.push_back({key, {}, {absl::MakeConstSpan(bytes_).subspan(i * block_bytes, block_bytes)}});
      fetches_.push_back({key, 0, absl::MakeSpan(fetched_).subspan(i * block_bytes, block_bytes)});
    }
  }

  // Under keys that nobody has used: older ones make room.
  void PutFresh(KvStore& store) {
    ++generation_;
    for (PutItem& item : puts_) std::memcpy(item.key.bytes.data() + 16, &generation_, sizeof(generation_));
    Put(store);
  }
  void Put(KvStore& store) const {
    for (const absl::Status& status : Check(store.Put(puts_, 0, absl::Now() + kCallTime))) Check(status);
  }
  void Fetch(KvStore& store) const {
    for (const absl::Status& status : Check(store.Fetch(fetches_, 0, absl::Now() + kCallTime))) Check(status);
  }
  void FetchOne(KvStore& store) const {
    for (const absl::Status& status :
         Check(store.Fetch(absl::MakeConstSpan(fetches_).first(1), 0, absl::Now() + kCallTime))) {
      Check(status);
    }
  }
  void Copy() { std::memcpy(fetched_.data(), bytes_.data(), kCallBytes); }
  void FetchRawFrom(int socket, size_t bytes = kCallBytes) {
    if (!FetchRaw(socket, absl::MakeSpan(fetched_).first(bytes)))
      Check(absl::UnavailableError("the raw socket's peer is gone"));
  }
  void LocateAll(ShmConnection& connection) const {
    shm::Locate request;
    for (const FetchItem& item : fetches_) request.items.push_back({item.key, 0, item.destination.size()});
    for (const shm::Located::Item& item : Check(connection.Locate(request, absl::Now() + kCallTime)).items) {
      if (item.code != 0) Check(absl::NotFoundError("a block is not located"));
    }
  }
  void PingPong(int socket) {
    if (!FetchRaw(socket, absl::MakeSpan(fetched_).subspan(0, 1))) {
      Check(absl::UnavailableError("the raw socket's peer is gone"));
    }
  }
  void CheckFetched() {
    if (bytes_ != fetched_) Check(absl::DataLossError("wrong bytes were fetched"));
    std::fill(fetched_.begin(), fetched_.end(), std::byte{0});
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_, fetched_;
  std::vector<PutItem> puts_;
  std::vector<FetchItem> fetches_;
  uint64_t generation_ = 0;
};

std::unique_ptr<LocalKvStore> MakeStore(const Clock& clock, bool shared_memory) {
  LocalStoreOptions options;
  options.memory_bytes = 8 * kCallBytes;
  options.shared_memory = shared_memory;
  return Check(LocalKvStore::Create(options, clock, nullptr));
}

// --- The other process

// The raw socket of one kind; its two ends are made before the processes part.
struct RawPair {
  int ours = -1, theirs = -1;
};

RawPair TcpPair() {
  const int listener = CheckCall(socket(AF_INET, SOCK_STREAM, 0), "socket");
  sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof(address);
  auto* name = reinterpret_cast<sockaddr*>(&address);
  CheckCall(bind(listener, name, size), "bind");
  CheckCall(listen(listener, 1), "listen");
  CheckCall(getsockname(listener, name, &size), "getsockname");
  RawPair pair = {.ours = CheckCall(socket(AF_INET, SOCK_STREAM, 0), "socket")};
  CheckCall(connect(pair.ours, name, size), "connect");
  pair.theirs = CheckCall(accept(listener, nullptr, nullptr), "accept");
  close(listener);
  const int on = 1;
  for (const int end : {pair.ours, pair.theirs}) setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return pair;
}

RawPair UnixPair() {
  int ends[2];
  CheckCall(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
  return {ends[0], ends[1]};
}

struct RawSockets {
  RawPair tcp = TcpPair(), unix_socket = UnixPair();
};

std::string UnixPath(pid_t server) { return absl::StrCat("/tmp/slimfill-bench-kv-", server, ".sock"); }

// Serves until killed.
[[noreturn]] void RunServer(int report, const RawSockets& raw) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const SystemClock clock;
  Metrics metrics;
  const std::unique_ptr<LocalKvStore> store = MakeStore(clock, /*shared_memory=*/true);
  const auto server =
      Check(KvServer::Start({.host = "127.0.0.1", .port = 0, .loopback = true}, *store, clock, metrics));
  const auto on_unix = Check(KvServer::Start({.unix_path = UnixPath(getpid())}, *store, clock, metrics));
  const uint16_t port = server->address().port;
  if (write(report, &port, sizeof(port)) != sizeof(port)) std::exit(1);
  const std::vector<std::byte> bytes = Blocks(kCallBytes).bytes();
  std::thread tcp([&] { ServeRaw(raw.tcp.theirs, bytes); });
  ServeRaw(raw.unix_socket.theirs, bytes);
  while (true) pause();
}

// REQUIRES: this process has one thread.
std::pair<pid_t, uint16_t> StartServer(const RawSockets& raw) {
  int channel[2];
  CheckCall(pipe(channel), "pipe");
  const pid_t child = CheckCall(fork(), "fork");
  if (child == 0) RunServer(channel[1], raw);
  uint16_t port;
  if (read(channel[0], &port, sizeof(port)) != sizeof(port)) {
    Check(absl::UnavailableError("the store's process did not start"));
  }
  return {child, port};
}

// CPU seconds that another process has used so far.
double CpuSecondsOf(pid_t process) {
  clockid_t clock;
  return clock_getcpuclockid(process, &clock) == 0 ? ClockSeconds(clock) : 0;
}

// --- Measuring

struct Way {
  std::string path, limit;        // the way and the one that bounds it; a limit has none
  std::function<void()> run;      // moves kCallBytes
  std::function<void()> check;    // after the warm-up
  std::vector<double> wall, cpu;  // seconds a call; cpu: of the other process
  size_t bytes = kCallBytes;      // that a call moves
  pid_t server = 0;               // the other process; 0: the store's
};

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(q * static_cast<double>(values.size())))];
}

Json Row(const Way& way, const std::vector<Way>& ways) {
  const auto gbps = [](const Way& measured) {
    return static_cast<double>(measured.bytes) / Quantile(measured.wall, 0.5) / 1e9;
  };
  Json row = {{"path", way.path},
              {"gbps", gbps(way)},
              {"p50_us", Quantile(way.wall, 0.5) * 1e6},
              {"p99_us", Quantile(way.wall, 0.99) * 1e6},
              {"server_cpu_s_per_gb", Quantile(way.cpu, 0.5) / (static_cast<double>(way.bytes) / 1e9)}};
  for (const Way& limit : ways) {
    if (limit.path != way.limit) continue;
    std::vector<double> ratios;  // of a round's pair
    for (size_t i = 0; i < way.wall.size(); ++i) ratios.push_back(limit.wall[i] / way.wall[i]);
    row["limit"] = limit.path;
    row["limit_gbps"] = gbps(limit);
    row["of_limit"] = Quantile(ratios, 0.5);
  }
  return row;
}

Json Run(int rounds, const std::vector<std::string>& wanted) {
  const RawSockets raw;
  const auto [child, port] = StartServer(raw);
  const std::unique_ptr<RedisProcess> redis = RedisProcess::Start();
  const SystemClock clock;
  const std::unique_ptr<LocalKvStore> local = MakeStore(clock, /*shared_memory=*/false);
  const auto tcp = Check(GrpcKvStore::Create(absl::StrCat("127.0.0.1:", port), {}, clock, nullptr));
  const auto on_unix = Check(GrpcKvStore::Create("unix:" + UnixPath(child), {}, clock, nullptr));
  const GrpcKvStore::AttachGrant grant = Check(on_unix->Attach(absl::Now() + kCallTime));
  const auto attached =
      Check(ShmConnection::Open(shm::SocketBeside(UnixPath(child)), grant.token, 4096, absl::Now() + kCallTime));
  const auto mapped = Check(ConnectKvStore("unix:" + UnixPath(child), {}, clock, nullptr));
  Blocks large(size_t{256} << 10), small(size_t{32} << 10), fresh(size_t{256} << 10);
  const auto check_large = [&] { large.CheckFetched(); };
  const auto check_small = [&] { small.CheckFetched(); };
  large.Put(*local);
  large.Put(*tcp);
  small.Put(*tcp);

  std::vector<Way> ways;
  ways.push_back({"memcpy", "", [&] { large.Copy(); }, check_large, {}, {}});
  ways.push_back({"embedded-copy-256k", "memcpy", [&] { large.Fetch(*local); }, check_large, {}, {}});
  ways.push_back({"embedded-put-256k", "memcpy", [&] { fresh.PutFresh(*local); }, [] {}, {}, {}});
  ways.push_back({"shm-copy-256k", "memcpy", [&] { large.Fetch(*mapped); }, check_large, {}, {}});
  ways.push_back({"shm-put-256k", "memcpy", [&] { fresh.PutFresh(*mapped); }, [] {}, {}, {}});
  ways.push_back({"raw-unix-pingpong", "", [&] { large.PingPong(raw.unix_socket.ours); }, [] {}, {}, {}, 1});
  ways.push_back({"shm-handles-128", "raw-unix-pingpong", [&] { large.LocateAll(*attached); }, [] {}, {}, {}, 1});
  const auto add_socket = [&](const std::string& kind, const RawPair& pair, KvStore& store) {
    const std::string limit = "raw-" + kind, grpc = "grpc-" + kind;
    ways.push_back({limit, "", [&] { large.FetchRawFrom(pair.ours); }, check_large, {}, {}});
    ways.push_back({grpc + "-256k", limit, [&] { large.Fetch(store); }, check_large, {}, {}});
    ways.push_back({grpc + "-32k-batched", limit, [&] { small.Fetch(store); }, check_small, {}, {}});
    ways.push_back({grpc + "-put-256k", limit, [&] { fresh.PutFresh(store); }, [] {}, {}, {}});
    // A single block: what a call costs beside its bytes.
    constexpr size_t kOne = size_t{256} << 10;
    ways.push_back({limit + "-one-256k", "", [&] { large.FetchRawFrom(pair.ours, kOne); }, [] {}, {}, {}, kOne});
    ways.push_back({grpc + "-one-256k", limit + "-one-256k", [&] { large.FetchOne(store); }, [] {}, {}, {}, kOne});
  };
  add_socket("tcp", raw.tcp, *tcp);
  add_socket("unix", raw.unix_socket, *on_unix);
  std::vector<std::unique_ptr<RedisWay>> l2;
  const auto add_l2 = [&](const std::string& kind, const L2Address& address, bool encrypted) {
    RedisWay& way = *l2.emplace_back(std::make_unique<RedisWay>(address, encrypted, large.bytes(), clock));
    const std::string limit = "raw-" + kind, name = absl::StrCat("l2-redis-", kind, encrypted ? "-encrypted" : "");
    const auto check = [&] {
      if (way.fetched() != large.bytes()) Check(absl::DataLossError("wrong bytes were fetched from the L2"));
    };
    ways.push_back({name + "-256k", limit, [&] { way.Fetch(); }, check, {}, {}, kCallBytes, redis->pid()});
    ways.push_back({name + "-put-256k", limit, [&] { way.Put(); }, [] {}, {}, {}, kCallBytes, redis->pid()});
  };
  if (redis != nullptr) {
    add_l2("tcp", redis->tcp(), false);
    add_l2("unix", redis->unix_socket(), false);
    add_l2("unix", redis->unix_socket(), true);
  } else {
    std::fprintf(stderr, "bench_kv: redis-server is not installed: no rows of the L2\n");
  }
  if (!wanted.empty()) {
    std::erase_if(ways,
                  [&](const Way& way) { return std::find(wanted.begin(), wanted.end(), way.path) == wanted.end(); });
  }
  for (Way& way : ways) {
    for (int i = 0; i < 2; ++i) way.run();
    way.check();
  }
  for (int round = 0; round < rounds; ++round) {
    for (Way& way : ways) {
      const pid_t server = way.server == 0 ? child : way.server;
      const double start = ClockSeconds(CLOCK_MONOTONIC), cpu = CpuSecondsOf(server);
      way.run();
      way.wall.push_back(ClockSeconds(CLOCK_MONOTONIC) - start);
      way.cpu.push_back(CpuSecondsOf(server) - cpu);
    }
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  unlink(UnixPath(child).c_str());
  Json rows = Json::array();
  for (const Way& way : ways) rows.push_back(Row(way, ways));
  return {{"call_bytes", kCallBytes}, {"rounds", rounds}, {"rows", rows}};
}

}  // namespace
}  // namespace slimfill::kvstore

int main(int argc, char** argv) {
  slimfill::SetUpRuntime();  // as our programs do
  int rounds = 101;
  std::vector<std::string> ways;
  CLI::App app{"Speed of the KV store's ways, beside the machine's limits on each"};
  app.add_option("--rounds", rounds, "of all ways in turn")->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("--ways", ways, "only these; all by default")->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  if (!slimfill::InitLogging("bench_kv", "warning").ok()) return 1;  // standard output is for the result
  std::printf("%s\n", slimfill::kvstore::Run(rounds, ways).dump(1).c_str());
  return 0;
}
