// Certificates for tests of TLS.
#pragma once

#include <string>

namespace slimfill::testing {

struct KeyPair {
  std::string key, certificate;  // PEM
};

// A self-signed certificate, its own authority, for the hosts of `subject`.
KeyPair MakeKeyPair(const char* name, const char* subject = "DNS:localhost,IP:127.0.0.1");

}  // namespace slimfill::testing
