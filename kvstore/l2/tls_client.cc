#include "kvstore/l2/tls_client.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "openssl/bio.h"
#include "openssl/err.h"
#include "openssl/x509_vfy.h"

namespace slimfill::kvstore {
namespace {

// OpenSSL's own socket BIO raises SIGPIPE when the peer is gone; this one does not.
int SocketOf(BIO* bio) { return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio))); }

int SocketWrite(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t sent = send(SocketOf(bio), data, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int SocketRead(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t received = recv(SocketOf(bio), data, static_cast<size_t>(size), 0);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(received);
}

long SocketControl(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }  // NOLINT

absl::Status Unusable(const std::string& file, const char* what) {
  return absl::InvalidArgumentError(
      absl::StrCat("'", file, "' is no ", what, " (", TlsError(), "): give a readable PEM file"));
}

bool IsIpAddress(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET, host.c_str(), &address) == 1 || inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

}  // namespace

std::string TlsError() {
  std::string text = "unknown";
  for (unsigned long code; (code = ERR_get_error()) != 0;) {  // NOLINT: OpenSSL's type
    if (const char* reason = ERR_reason_error_string(code)) text = reason;
  }
  return text;
}

absl::StatusOr<std::unique_ptr<TlsClient>> TlsClient::Create(const TlsFiles& files) {
  Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  Method method(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK | BIO_TYPE_DESCRIPTOR, "slimfill socket"),
                BIO_meth_free);
  SLIMFILL_CHECK(context != nullptr && method != nullptr);
  BIO_meth_set_write(method.get(), SocketWrite);
  BIO_meth_set_read(method.get(), SocketRead);
  BIO_meth_set_ctrl(method.get(), SocketControl);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (files.ca.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else if (SSL_CTX_load_verify_locations(context.get(), files.ca.c_str(), nullptr) != 1) {
    return Unusable(files.ca, "file of certificates");
  }
  if (!files.cert.empty() && SSL_CTX_use_certificate_chain_file(context.get(), files.cert.c_str()) != 1) {
    return Unusable(files.cert, "certificate");
  }
  if (!files.key.empty() && SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return Unusable(files.key, "private key of the certificate");
  }
  return std::unique_ptr<TlsClient>(new TlsClient(std::move(context), std::move(method)));
}

SSL* TlsClient::NewSession(int socket, const std::string& host) const {
  std::unique_ptr<SSL, decltype(&SSL_free)> session(SSL_new(context_.get()), SSL_free);
  BIO* bio = session == nullptr ? nullptr : BIO_new(socket_method_.get());
  if (bio == nullptr) return nullptr;
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(socket)));
  BIO_set_init(bio, 1);
  SSL_set_bio(session.get(), bio, bio);
  SSL_set_connect_state(session.get());
  if (IsIpAddress(host)) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session.get()), host.c_str());
  } else {
    SSL_set1_host(session.get(), host.c_str());
    SSL_set_tlsext_host_name(session.get(), host.c_str());
  }
  return session.release();
}

}  // namespace slimfill::kvstore
