// Mutual TLS between the KV tier and its clients: each side shows a certificate of an authority that the other trusts.
#pragma once

#include <string>

namespace slimfill::kvstore {

// PEM texts.
struct MutualTls {
  std::string certificate;  // to show
  std::string key;          // its private key
  std::string peer_ca;      // the authority of the other side's certificates
};

}  // namespace slimfill::kvstore
