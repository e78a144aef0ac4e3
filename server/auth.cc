#include "server/auth.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/logging.h"
#include "base/status.h"
#include "openssl/crypto.h"
#include "openssl/sha.h"

namespace slimfill::server {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);
constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr size_t kMaxTokenBytes = 4096;

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.gcount() == 0 && !file.eof())) {
    return absl::InvalidArgumentError(absl::StrCat("--auth-tokens ", path, ": cannot be read"));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("--auth-tokens ", path, ": is larger than ", kMaxFileBytes, " bytes"));
  }
  return text;
}

bool IsHexDigest(absl::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isxdigit(c); });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(const std::string& tokens_file,
                                                                     const Clock& clock) {
  std::unique_ptr<Authenticator> authenticator(new Authenticator(tokens_file, clock));
  if (tokens_file.empty()) return authenticator;
  absl::MutexLock lock(&authenticator->mutex_);
  SLIMFILL_RETURN_IF_ERROR(authenticator->Load());
  return authenticator;
}

absl::StatusOr<std::vector<Authenticator::Entry>> Authenticator::Parse(absl::string_view text) {
  std::vector<Entry> entries;
  int line_number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (parts.first.empty() || !IsHexDigest(parts.second)) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", line_number, " is not tenant:sha256, with the SHA-256 of the token as 64 hex digits"));
    }
    Entry entry{std::string(parts.first), {}};
    const std::string digest = absl::HexStringToBytes(parts.second);
    std::copy(digest.begin(), digest.end(), entry.digest.begin());
    entries.push_back(std::move(entry));
  }
  if (entries.empty()) return absl::InvalidArgumentError("it has no tokens: nobody could call");
  return entries;
}

absl::Status Authenticator::Load() {
  SLIMFILL_ASSIGN_OR_RETURN(std::string text, ReadText(file_));
  if (text == loaded_text_) return absl::OkStatus();
  auto entries = Parse(text);
  if (!entries.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--auth-tokens ", file_, ": ", entries.status().message()));
  }
  entries_ = *std::move(entries);
  loaded_text_ = std::move(text);
  return absl::OkStatus();
}

// The file is small: comparing its text also sees a change that leaves time and size alone.
void Authenticator::ReloadIfChanged() {
  const absl::Time now = clock_.Now();
  if (now < next_look_) return;
  next_look_ = now + kLookInterval;
  if (absl::Status status = Load(); !status.ok()) {
    spdlog::error("auth_tokens_not_reloaded error=\"{}\"", std::string(status.message()));
  }
}

absl::StatusOr<std::string> Authenticator::Authenticate(absl::string_view authorization,
                                                        absl::string_view certificate_identity) {
  if (file_.empty()) return std::string(certificate_identity);
  absl::string_view token = authorization;
  if (!absl::ConsumePrefix(&token, "Bearer ") || token.empty() || token.size() > kMaxTokenBytes) {
    return absl::UnauthenticatedError("no credentials: send metadata 'authorization: Bearer TOKEN'");
  }
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest.data());

  absl::MutexLock lock(&mutex_);
  ReloadIfChanged();
  // Every entry is compared, each in constant time: the duration says nothing about which one was close.
  const Entry* match = nullptr;
  for (const Entry& entry : entries_) {
    if (CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0) match = &entry;
  }
  if (match == nullptr) return absl::UnauthenticatedError("the bearer token is not one of this server's");
  return match->tenant;
}

}  // namespace slimfill::server
