// Our side of TLS connections: whom we trust and who we are.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "openssl/ssl.h"

namespace slimfill::kvstore {

struct TlsFiles {
  std::string ca;         // PEM; empty: the authorities that the system trusts
  std::string cert, key;  // PEM; empty: we show no certificate
};

// Thread safe.
class TlsClient {
 public:
  // INVALID_ARGUMENT names the file that cannot be used.
  static absl::StatusOr<std::unique_ptr<TlsClient>> Create(const TlsFiles& files);

  // A session on a connected or connecting socket, which it does not own. The peer must show a certificate for `host`,
  // a name or an IP address. Null when there is no memory.
  SSL* NewSession(int socket, const std::string& host) const;

 private:
  using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
  using Method = std::unique_ptr<BIO_METHOD, decltype(&BIO_meth_free)>;

  TlsClient(Context context, Method socket_method)
      : context_(std::move(context)), socket_method_(std::move(socket_method)) {}

  const Context context_;
  const Method socket_method_;
};

// What OpenSSL has to say about the last failed call of this thread.
std::string TlsError();

}  // namespace slimfill::kvstore
