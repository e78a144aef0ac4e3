#include "kvstore/service/shm_server.h"

#include <unistd.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/logging.h"
#include "base/status.h"
#include "kvstore/service/shm_session.h"

namespace slimfill::kvstore {
namespace {

constexpr absl::Duration kGreetingTime = absl::Seconds(5);
constexpr absl::Duration kAnswerTime = absl::Seconds(5);  // a client that does not read for so long is gone

}  // namespace

absl::StatusOr<std::unique_ptr<ShmServer>> ShmServer::Start(const std::string& path, LocalKvStore& store,
                                                            AttachTokens& tokens, const Clock& clock,
                                                            Metrics& metrics) {
  SLIMFILL_CHECK(store.slab().file() >= 0);
  SLIMFILL_ASSIGN_OR_RETURN(UniqueFd slab_file, ReopenReadOnly(store.slab().file()));
  SLIMFILL_ASSIGN_OR_RETURN(ShmListener listener, ShmListener::Listen(path));
  return std::unique_ptr<ShmServer>(
      new ShmServer(std::move(listener), std::move(slab_file), store, tokens, clock, metrics));
}

ShmServer::ShmServer(ShmListener listener, UniqueFd slab_file, LocalKvStore& store, AttachTokens& tokens,
                     const Clock& clock, Metrics& metrics)
    : slab_file_(std::move(slab_file)),
      store_(store),
      tokens_(tokens),
      clock_(clock),
      metrics_(metrics),
      listener_(std::move(listener)),
      accepting_([this] { AcceptClients(); }) {}

ShmServer::~ShmServer() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    for (Client& client : clients_) client.socket.Shutdown();
  }
  listener_.Shutdown();
  accepting_.join();
  std::list<Client> left;
  {
    absl::MutexLock lock(&mutex_);
    left.swap(clients_);
  }
  for (Client& client : left) client.thread.join();
}

void ShmServer::AcceptClients() {
  while (true) {
    absl::StatusOr<ShmSocket> socket = listener_.Accept();
    if (socket.ok()) {
      Admit(*std::move(socket));
    } else if (absl::IsCancelled(socket.status())) {
      return;
    } else {
      spdlog::warn("shared memory: {}", std::string(socket.status().message()));
      absl::SleepFor(absl::Milliseconds(100));  // out of descriptors, most likely: some will come free
    }
  }
}

void ShmServer::Admit(ShmSocket socket) {
  const absl::StatusOr<uid_t> user = socket.PeerUser();
  const size_t clients = CollectFinished();
  std::string refusal;
  if (!user.ok() || (*user != geteuid() && *user != 0)) {
    refusal = "the store's memory is for processes of its own user: run both as the same, or use TCP";
  } else if (clients >= kMaxClients) {
    refusal = absl::StrCat(clients, " clients are attached, the limit is ", kMaxClients);
  }
  if (!refusal.empty()) {
    socket.Send(shm::EncodeRefused(refusal), -1, absl::Now()).IgnoreError();
    return;
  }
  absl::MutexLock lock(&mutex_);
  if (stopping_) return;
  Client& client = clients_.emplace_back(std::move(socket));
  client.thread = std::thread([this, &client] {
    Serve(client);
    absl::MutexLock done_lock(&mutex_);
    client.done = true;
  });
}

size_t ShmServer::CollectFinished() {
  std::list<Client> finished;
  size_t left;
  {
    absl::MutexLock lock(&mutex_);
    for (auto client = clients_.begin(); client != clients_.end();) {
      const auto next = std::next(client);
      if (client->done) finished.splice(finished.end(), clients_, client);
      client = next;
    }
    left = clients_.size();
  }
  for (Client& client : finished) client.thread.join();
  return left;
}

void ShmServer::Serve(Client& client) {
  const auto greet = [&]() -> absl::StatusOr<std::pair<uint64_t, MappedRegion>> {
    UniqueFd window_file;
    SLIMFILL_ASSIGN_OR_RETURN(const absl::Span<const std::byte> message,
                              client.socket.Receive(&window_file, absl::Now() + kGreetingTime));
    SLIMFILL_ASSIGN_OR_RETURN(const shm::Hello hello, shm::ParseHello(message));
    const std::optional<uint64_t> session = tokens_.Redeem(hello.token);
    if (!session.has_value()) {
      return absl::PermissionDeniedError("the token is unknown, used or too old: call Attach for a new one");
    }
    SLIMFILL_ASSIGN_OR_RETURN(MappedRegion window, MappedRegion::ReadOnly(window_file.get(), hello.window_bytes));
    return std::make_pair(*session, std::move(window));
  };
  absl::StatusOr<std::pair<uint64_t, MappedRegion>> greeted = greet();
  if (!greeted.ok()) {
    client.socket.Send(shm::EncodeRefused(greeted.status().message()), -1, absl::Now()).IgnoreError();
    client.socket.Shutdown();
    return;
  }
  auto& [session, window] = *greeted;
  const shm::Welcome welcome{.file_bytes = store_.slab().file_bytes(), .pages = store_.slab().file_pages()};
  absl::Status status = client.socket.Send(shm::Encode(welcome), slab_file_.get(), absl::Now() + kAnswerTime);
  ShmSession answers(store_, std::move(window), clock_, metrics_);
  while (status.ok()) {
    const absl::StatusOr<absl::Span<const std::byte>> message = client.socket.Receive(nullptr, absl::InfiniteFuture());
    if (!message.ok()) break;
    const absl::StatusOr<shm::Bytes> answer = answers.Answer(*message);
    status = answer.ok() ? client.socket.Send(*answer, -1, absl::Now() + kAnswerTime) : answer.status();
  }
  if (!status.ok()) spdlog::warn("shared memory: a client is dropped: {}", std::string(status.message()));
  client.socket.Shutdown();
  store_.EndSession(session);
}

}  // namespace slimfill::kvstore
