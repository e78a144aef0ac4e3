// Certificates for tests of TLS.
#pragma once

#include <string>

namespace slimfill::testing {

struct KeyPair {
  std::string key, certificate;  // PEM
};

// A self-signed certificate for the hosts of `subject`, its own authority, valid for an hour.
KeyPair MakeKeyPair(const char* name, const char* subject = "DNS:localhost,IP:127.0.0.1");

}  // namespace slimfill::testing
