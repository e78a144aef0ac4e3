#include "base/listen_address.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill {
namespace {

TEST(ListenAddress, ReadsHostAndPort) {
  EXPECT_EQ(ParseListenAddress("10.0.0.1:80")->host, "10.0.0.1");
  EXPECT_EQ(ParseListenAddress("10.0.0.1:80")->port, 80);
  EXPECT_EQ(ParseListenAddress("[fe80::1]:65535")->host, "fe80::1");
  EXPECT_EQ(ParseListenAddress("localhost:0")->port, 0);
}

TEST(ListenAddress, KnowsLoopback) {
  for (const char* text : {"127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "localhost:1"}) {
    EXPECT_TRUE(ParseListenAddress(text)->loopback) << text;
  }
  for (const char* text : {"0.0.0.0:1", "[::]:1", "192.168.0.1:1", "kv.example:1", "128.0.0.1:1", "127.0.0.1.example:1",
                           "[::ffff:10.0.0.1]:1"}) {
    EXPECT_FALSE(ParseListenAddress(text)->loopback) << text;
  }
}

TEST(ListenAddress, RefusesMalformedOnesAndShowsTheForm) {
  for (const char* text : {"", "127.0.0.1", "7390", ":7390", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
                           "127.0.0.1:http", "::1:7390", "[::1:7390", "::1]:7390"}) {
    const absl::StatusOr<ListenAddress> address = ParseListenAddress(text);
    EXPECT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(address.status().message()), ::testing::HasSubstr("HOST:PORT"));
  }
}

TEST(ListenAddress, FormatReadsBackAsTheSameAddress) {
  for (const char* text : {"127.0.0.1:7390", "[::1]:7390", "localhost:0"}) {
    EXPECT_EQ(FormatListenAddress(*ParseListenAddress(text)), text);
  }
}

TEST(Endpoint, IsAHostAndPortOrAUnixSocket) {
  const ListenAddress unix_socket = *ParseEndpoint("unix:/run/kv.sock");
  EXPECT_EQ(unix_socket.unix_path, "/run/kv.sock");
  EXPECT_TRUE(unix_socket.loopback);
  EXPECT_EQ(FormatListenAddress(unix_socket), "unix:/run/kv.sock");
  EXPECT_EQ(ParseEndpoint("[::1]:7390")->port, 7390);
  for (const std::string& text : {std::string("unix:"), "unix:/" + std::string(107, 'x')}) {
    EXPECT_THAT(std::string(ParseEndpoint(text).status().message()), ::testing::HasSubstr("1 to 107 bytes"));
  }
  EXPECT_FALSE(ParseListenAddress("unix:/run/kv.sock").ok());
}

}  // namespace
}  // namespace slimfill
