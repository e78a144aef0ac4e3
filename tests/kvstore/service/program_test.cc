// The real program as a child process: start, stop, murder, suspension and return; reached over TCP, and over a unix
// socket with its memory mapped.
#include <signal.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/metric_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/client/connect.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/service/child_process.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;
using ::testing::HasSubstr;

constexpr size_t kBlock = 1 << 20;
constexpr uint32_t kBlocks = 48;

class KvStoreProgram : public ::testing::TestWithParam<const char*> {
 protected:
  KvStoreProgram() {
    char folder[] = "/tmp/slimfill-kvstore-XXXXXX";
    folder_ = mkdtemp(folder);
  }
  ~KvStoreProgram() override { std::filesystem::remove_all(folder_); }

  // Where the first program of a test listens.
  std::string AnyAddress() const {
    return GetParam() == std::string("unix") ? "unix:" + folder_ + "/kv.sock" : "127.0.0.1:0";
  }

  // Starts the program and returns the address it listens on.
  std::string Start(const std::string& listen) {
    program_ = std::make_unique<ChildProcess>(
        std::vector<std::string>{KVSTORE_PROGRAM, "--listen", listen, "--memory", "256MiB"});
    return program_->ReadAfter("listening address=");
  }

  void Connect(const std::string& address) { client_ = ConnectKvStore(address, {}, clock_, &metrics_).value(); }

  absl::Time Deadline(absl::Duration in = absl::Seconds(30)) { return clock_.Now() + in; }

  void PutAll() {
    for (uint32_t id = 1; id <= kBlocks; ++id) {
      const auto statuses = client_->Put({Item(Key(id), values_[id - 1])}, 0, Deadline());
      ASSERT_TRUE(statuses.ok() && statuses->front().ok()) << id;
    }
  }

  // Fetches every block. What is OK must be right; returns how many were OK.
  size_t FetchAll() {
    std::vector<std::vector<std::byte>> got(kBlocks, std::vector<std::byte>(kBlock));
    std::vector<FetchItem> items;
    for (uint32_t id = 1; id <= kBlocks; ++id) items.push_back(Into(Key(id), got[id - 1]));
    const auto statuses = client_->Fetch(items, 0, Deadline());
    size_t ok = 0;
    for (size_t i = 0; i < kBlocks; ++i) {
      if (!statuses.ok() || !(*statuses)[i].ok()) continue;
      ++ok;
      EXPECT_TRUE(got[i] == values_[i]) << "a wrong byte in block " << i;
    }
    return ok;
  }

  void Heal() {
    for (int probe = 0; probe < 20 && !client_->Stats(Deadline()).ok(); ++probe) clock_.Advance(absl::Seconds(8));
    ASSERT_EQ(metrics_.Value(metric::kKvStoreUp), 1);
  }

  static std::vector<std::vector<std::byte>> AllValues() {
    std::vector<std::vector<std::byte>> values;
    for (uint32_t id = 1; id <= kBlocks; ++id) values.push_back(Bytes(id, kBlock));
    return values;
  }

  const std::vector<std::vector<std::byte>> values_ = AllValues();
  FakeClock clock_;
  Metrics metrics_;
  std::unique_ptr<ChildProcess> program_;
  std::string folder_;
  std::unique_ptr<KvStore> client_;
};

INSTANTIATE_TEST_SUITE_P(Ways, KvStoreProgram, ::testing::Values("tcp", "unix"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(KvStoreProgram, ListensServesAndStopsOnSigterm) {
  const std::string address = Start(AnyAddress());
  ASSERT_THAT(address, HasSubstr(GetParam() == std::string("unix") ? folder_ : "127.0.0.1:"));
  Connect(address);
  PutAll();
  EXPECT_EQ(FetchAll(), kBlocks);
  program_->Signal(SIGTERM);
  EXPECT_THAT(program_->ReadRest(), HasSubstr("stopped"));
  EXPECT_EQ(program_->Wait(), 0);
}

TEST_P(KvStoreProgram, StopsOnSigint) {
  ASSERT_NE(Start(AnyAddress()), "");
  program_->Signal(SIGINT);
  EXPECT_EQ(program_->Wait(), 0);
}

TEST_P(KvStoreProgram, PortInUseIsAClearErrorAndExitCodeOne) {
  const std::string address = Start(AnyAddress());
  ChildProcess second({KVSTORE_PROGRAM, "--listen", address});
  EXPECT_THAT(second.ReadRest(), AllOf(HasSubstr("cannot listen on " + address), HasSubstr("choose another")));
  EXPECT_EQ(second.Wait(), 1);
}

TEST_P(KvStoreProgram, KilledInTheMiddleOfFetchesCostsMissesOnlyAndItsReturnHeals) {
  const std::string address = Start(AnyAddress());
  Connect(address);
  PutAll();
  absl::Notification fetching;
  std::thread reader([&] {
    ASSERT_EQ(FetchAll(), kBlocks);
    fetching.Notify();
    while (metrics_.Value(metric::kKvStoreUp) == 1) FetchAll();  // until the breaker has opened
  });
  fetching.WaitForNotification();
  program_->Signal(SIGKILL);
  EXPECT_EQ(program_->Wait(), -SIGKILL);
  reader.join();
  EXPECT_EQ(FetchAll(), 0u);

  ASSERT_EQ(Start(address), address);
  Heal();
  EXPECT_EQ(FetchAll(), 0u) << "the new store is empty";
  PutAll();
  EXPECT_EQ(FetchAll(), kBlocks);
}

TEST_P(KvStoreProgram, SuspendedProgramCostsDeadlinesThenNothingAndItsReturnHeals) {
  Connect(Start(AnyAddress()));
  PutAll();
  program_->Suspend();
  std::vector<std::byte> got(kBlock);
  for (int i = 0; i < 3; ++i) {
    const auto statuses = client_->Fetch({Into(Key(1), got)}, 0, Deadline(absl::Milliseconds(100)));
    EXPECT_EQ(statuses.status().code(), Code::kDeadlineExceeded);
  }
  EXPECT_EQ(client_->Fetch({Into(Key(1), got)}, 0, Deadline()).status().code(), Code::kUnavailable);
  program_->Signal(SIGCONT);
  Heal();
  EXPECT_EQ(FetchAll(), kBlocks) << "it has lost nothing";
}

}  // namespace
}  // namespace slimfill::kvstore
