// Certificates for tests of TLS.
#pragma once

#include <string>

namespace slimfill::testing {

struct KeyPair {
  std::string key, certificate;  // PEM
};

// A self-signed certificate for localhost, its own authority, valid for an hour.
KeyPair MakeKeyPair(const char* name);

}  // namespace slimfill::testing
