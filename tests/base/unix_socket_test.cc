#include "base/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill {
namespace {

using ::testing::HasSubstr;

class UnixSocketTest : public ::testing::Test {
 protected:
  UnixSocketTest() : path_(absl::StrCat(::testing::TempDir(), "unix_socket_test.", getpid())) {}
  ~UnixSocketTest() override { unlink(path_.c_str()); }

  int Listen() {
    const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address = {.sun_family = AF_UNIX};
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener, 1), 0);
    return listener;
  }

  const std::string path_;
};

TEST_F(UnixSocketTest, AFreePathIsReady) { EXPECT_TRUE(PrepareUnixSocket(path_).ok()); }

TEST_F(UnixSocketTest, TheSocketOfAServerThatIsGoneIsRemoved) {
  close(Listen());
  ASSERT_TRUE(std::filesystem::exists(path_));
  EXPECT_TRUE(PrepareUnixSocket(path_).ok());
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(UnixSocketTest, AServerThatListensKeepsItsSocket) {
  const int listener = Listen();
  for (int i = 0; i < 4; ++i) {  // the queue of connections fills up
    const absl::Status status = PrepareUnixSocket(path_);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("another server"));
  }
  EXPECT_TRUE(std::filesystem::exists(path_));
  close(listener);
}

TEST_F(UnixSocketTest, OtherFilesAreLeftAlone) {
  std::ofstream(path_) << "text";
  EXPECT_THAT(std::string(PrepareUnixSocket(path_).message()), HasSubstr("no socket"));
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(UnixSocketTest, AMissingFolderIsNamed) {
  const absl::Status status = PrepareUnixSocket("/no/such/folder/socket");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("make the folder /no/such/folder"));
}

TEST_F(UnixSocketTest, FilesAreTheOwnersWhileItIsAsked) {
  const auto mode_of_new_file = [this] {
    close(open(path_.c_str(), O_CREAT | O_WRONLY, 0666));
    struct stat found = {};
    EXPECT_EQ(lstat(path_.c_str(), &found), 0);
    unlink(path_.c_str());
    return found.st_mode & 0777;
  };
  const mode_t before = umask(0022);
  {
    const OwnerOnlyFiles guard;
    EXPECT_EQ(mode_of_new_file(), 0600u);
  }
  EXPECT_EQ(mode_of_new_file(), 0644u);
  umask(before);
}

}  // namespace
}  // namespace slimfill
