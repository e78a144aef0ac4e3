#include "tests/kvstore/l2/fake_redis.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace slimfill::kvstore {
namespace {

// Reads commands from a connection.
class CommandReader {
 public:
  explicit CommandReader(int socket) : socket_(socket) {}

  std::optional<FakeRedis::Words> Next() {
    int count = 0;
    if (!ReadNumber('*', &count)) return std::nullopt;
    FakeRedis::Words words;
    for (int i = 0; i < count; ++i) {
      int size = 0;
      if (!ReadNumber('$', &size) || !Need(static_cast<size_t>(size) + 2)) return std::nullopt;
      words.push_back(text_.substr(0, static_cast<size_t>(size)));
      text_.erase(0, static_cast<size_t>(size) + 2);
    }
    return words;
  }

 private:
  bool ReadNumber(char kind, int* number) {
    size_t end;
    while ((end = text_.find("\r\n")) == std::string::npos) {
      if (!Need(text_.size() + 1)) return false;
    }
    const bool ok = text_[0] == kind && absl::SimpleAtoi(text_.substr(1, end - 1), number);
    text_.erase(0, end + 2);
    return ok;
  }
  bool Need(size_t size) {
    char buffer[65536];
    while (text_.size() < size) {
      const ssize_t received = recv(socket_, buffer, sizeof(buffer), 0);
      if (received <= 0) return false;
      text_.append(buffer, static_cast<size_t>(received));
    }
    return true;
  }

  const int socket_;
  std::string text_;
};

}  // namespace

FakeRedis::FakeRedis(Script script) : script_(std::move(script)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof(address);
  SLIMFILL_CHECK(bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(listener_, 16) == 0);
  SLIMFILL_CHECK(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

FakeRedis::~FakeRedis() {
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  close(listener_);
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mutex_);
    for (const int connection : connections_) shutdown(connection, SHUT_RDWR);
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

std::string FakeRedis::name() const { return FormatListenAddress(address()); }

std::vector<std::string> FakeRedis::commands() const {
  absl::MutexLock lock(&mutex_);
  return commands_;
}

void FakeRedis::Accept() {
  while (true) {
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) return;
    const int on = 1;
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    absl::MutexLock lock(&mutex_);
    connections_.push_back(connection);
    threads_.emplace_back([this, connection] { Serve(connection); });
  }
}

void FakeRedis::Serve(int connection) {
  CommandReader reader(connection);
  while (const std::optional<Words> words = reader.Next()) {
    if (words->front() != "CLUSTER") {
      absl::MutexLock lock(&mutex_);
      commands_.push_back(absl::StrJoin(*words, " "));
    }
    const std::string reply = script_(*words);
    for (size_t sent = 0; sent < reply.size();) {
      const size_t piece = std::min<size_t>(piece_bytes_, reply.size() - sent);
      const ssize_t moved = send(connection, reply.data() + sent, piece, MSG_NOSIGNAL);
      if (moved <= 0) break;
      sent += static_cast<size_t>(moved);
    }
  }
  absl::MutexLock lock(&mutex_);
  std::erase(connections_, connection);
  close(connection);
}

std::string BulkReply(const std::string& bytes) { return absl::StrCat("$", bytes.size(), "\r\n", bytes, "\r\n"); }

std::string AllSlotsOf(const ListenAddress& owner) {
  return absl::StrCat("*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n", BulkReply(owner.host), ":", owner.port, "\r\n",
                      BulkReply("id"));
}

}  // namespace slimfill::kvstore
