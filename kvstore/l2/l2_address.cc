#include "kvstore/l2/l2_address.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace slimfill::kvstore {
namespace {

constexpr size_t kMaxSeeds = 64;  // to learn the others from

}  // namespace

absl::StatusOr<L2Address> ParseL2Address(absl::string_view text) {
  L2Address address;
  if (absl::StartsWith(text, "unix:")) {
    SLIMFILL_ASSIGN_OR_RETURN(ListenAddress seed, ParseEndpoint(text));
    address.seeds.push_back(std::move(seed));
    return address;
  }
  absl::string_view hosts = text;
  address.tls = absl::ConsumePrefix(&hosts, "rediss://");
  if (!address.tls && !absl::ConsumePrefix(&hosts, "redis://")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text,
        "' is no address of an L2: write redis://HOST:PORT[,HOST:PORT...], rediss:// for TLS, or unix:PATH"));
  }
  if (hosts.find('@') != absl::string_view::npos) {  // not repeated: what stands before it may be a password
    return absl::InvalidArgumentError(
        "the address has a user or password before '@', where other users of the machine can read it: give the user by "
        "--l2-user and the password by --l2-password-file");
  }
  for (const absl::string_view host : absl::StrSplit(hosts, ',')) {
    SLIMFILL_ASSIGN_OR_RETURN(ListenAddress seed, ParseListenAddress(host));
    if (seed.port == 0) {
      return absl::InvalidArgumentError(absl::StrCat("'", host, "' has port 0: name the port that Redis listens on"));
    }
    if (address.seeds.size() == kMaxSeeds) {
      return absl::InvalidArgumentError(absl::StrCat("the address names more than ", kMaxSeeds,
                                                     " nodes: a few are enough, the others are learned from them"));
    }
    address.seeds.push_back(std::move(seed));
  }
  return address;
}

std::string FormatL2Address(const L2Address& address) {
  const std::string seeds = absl::StrJoin(address.seeds, ",", [](std::string* out, const ListenAddress& seed) {
    absl::StrAppend(out, FormatListenAddress(seed));
  });
  if (!address.seeds.empty() && !address.seeds.front().unix_path.empty()) return seeds;
  return absl::StrCat(address.tls ? "rediss://" : "redis://", seeds);
}

}  // namespace slimfill::kvstore
