#include "kvstore/shm/socket.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kvstore/shm/protocol.h"

namespace slimfill::kvstore {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);

shm::Bytes Message(size_t size) { return shm::Bytes(size, std::byte{5}); }

class ShmSocketTest : public ::testing::Test {
 protected:
  ShmSocketTest() {
    char folder[] = "/tmp/slimfill-shm-XXXXXX";
    folder_ = mkdtemp(folder);
    path_ = folder_ + "/kv.sock.shm";
    listener_.emplace(ShmListener::Listen(path_).value());
    client_.emplace(ShmSocket::Connect(path_).value());
    server_.emplace(listener_->Accept().value());
  }
  ~ShmSocketTest() override {
    listener_.reset();
    std::filesystem::remove_all(folder_);
  }
  absl::Time Soon() { return absl::Now() + kPatience; }

  std::string folder_, path_;
  std::optional<ShmListener> listener_;
  std::optional<ShmSocket> client_, server_;
};

TEST_F(ShmSocketTest, MessagesKeepTheirBorders) {
  ASSERT_TRUE(client_->Send(Message(3), -1, Soon()).ok());
  ASSERT_TRUE(client_->Send(Message(shm::kMaxMessageBytes), -1, Soon()).ok());
  EXPECT_EQ(server_->Receive(nullptr, Soon())->size(), 3u);
  EXPECT_EQ(server_->Receive(nullptr, Soon())->size(), shm::kMaxMessageBytes);
}

TEST_F(ShmSocketTest, CarriesADescriptor) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd out(ends[0]);
  {
    const UniqueFd in(ends[1]);
    ASSERT_TRUE(client_->Send(Message(1), in.get(), Soon()).ok());
  }
  UniqueFd received;
  ASSERT_TRUE(server_->Receive(&received, Soon()).ok());
  ASSERT_TRUE(received);
  ASSERT_EQ(write(received.get(), "x", 1), 1);
  char got = 0;
  ASSERT_EQ(read(out.get(), &got, 1), 1);
  EXPECT_EQ(got, 'x');
}

TEST_F(ShmSocketTest, UnwantedDescriptorsAreClosed) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd out(ends[0]);
  {
    const UniqueFd in(ends[1]);
    ASSERT_TRUE(client_->Send(Message(1), in.get(), Soon()).ok());
  }
  ASSERT_TRUE(server_->Receive(nullptr, Soon()).ok());
  char got = 0;
  EXPECT_EQ(read(out.get(), &got, 1), 0) << "nobody holds the pipe's other end any more";
}

TEST_F(ShmSocketTest, TooLongMessagesAreNotCutSilently) {
  ASSERT_TRUE(client_->Send(Message(shm::kMaxMessageBytes + 1), -1, Soon()).ok());
  EXPECT_TRUE(absl::IsDataLoss(server_->Receive(nullptr, Soon()).status()));
}

TEST_F(ShmSocketTest, SilenceEndsAtTheDeadline) {
  EXPECT_TRUE(absl::IsDeadlineExceeded(server_->Receive(nullptr, absl::Now() + absl::Milliseconds(5)).status()));
  absl::Status status;
  while (status.ok()) status = client_->Send(Message(1000), -1, absl::Now() + absl::Milliseconds(5));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
}

TEST_F(ShmSocketTest, DeathOfThePeerIsNoticed) {
  client_.reset();
  EXPECT_TRUE(absl::IsUnavailable(server_->Receive(nullptr, absl::InfiniteFuture()).status()));
  EXPECT_TRUE(absl::IsUnavailable(server_->Send(Message(1), -1, Soon())));
}

TEST_F(ShmSocketTest, ShutdownWakesWhoWaits) {
  std::thread waiting(
      [&] { EXPECT_TRUE(absl::IsUnavailable(server_->Receive(nullptr, absl::InfiniteFuture()).status())); });
  server_->Shutdown();
  waiting.join();
  std::thread accepting([&] { EXPECT_TRUE(absl::IsCancelled(listener_->Accept().status())); });
  listener_->Shutdown();
  accepting.join();
}

TEST_F(ShmSocketTest, BelongsToItsUserAlone) {
  struct stat found;
  ASSERT_EQ(stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & (S_IRWXG | S_IRWXO), 0u);
  EXPECT_EQ(server_->PeerUser().value(), geteuid());
}

TEST_F(ShmSocketTest, PathsAreTakenOnceAndRemoved) {
  EXPECT_TRUE(absl::IsUnavailable(ShmListener::Listen(path_).status()));
  listener_.reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_TRUE(absl::IsUnavailable(ShmSocket::Connect(path_).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ShmSocket::Connect(std::string(200, 'x')).status()));
}

}  // namespace
}  // namespace slimfill::kvstore
