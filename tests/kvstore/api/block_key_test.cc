#include "kvstore/api/block_key.h"

#include <limits>
#include <set>

#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

// Expected values: Python's hashlib and struct over the definitions in block_key.h.
constexpr char kRootHex[] = "b7197ca645cba1c83906186bc80be1660f6c310ab70bf7a2db066c2abe779271";
const std::vector<int32_t> kTokens = {0, 1, 2, -1, 4, std::numeric_limits<int32_t>::max(), 6, 7, 8, 9};

TEST(BlockKey, ChainRootHashesLengthPrefixedParts) {
  EXPECT_EQ(ToHex(ChainRoot("slimfill-kv-1", "tenant-a")), kRootHex);
  EXPECT_EQ(ToHex(ChainRoot("", "")), "374708fff7719dd5979ec875d56cd2286f6d3cf7ec317a3b25632aab28ec37bb");
}

TEST(BlockKey, ChainRootKeepsPartsThatConcatenateAlikeApart) {
  EXPECT_NE(ToHex(ChainRoot("ab", "c")), ToHex(ChainRoot("a", "bc")));
  EXPECT_NE(ToHex(ChainRoot("model", "tenant-a")), ToHex(ChainRoot("model", "tenant-b")));
}

TEST(BlockKey, ChainKeysHashParentAndLittleEndianTokens) {
  const BlockKey root = ChainRoot("slimfill-kv-1", "tenant-a");
  const std::vector<BlockKey> keys = ChainKeys(root, kTokens, /*block_tokens=*/4);
  ASSERT_EQ(keys.size(), 2u);  // the last two tokens fill no block
  EXPECT_EQ(ToHex(keys[0]), "d057930f89d8fc1754f5f4995d86f069bc9fad17fab618fe722ff641711157ae");
  EXPECT_EQ(ToHex(keys[1]), "8d283cf9000194b4d6f4bdfe0b32f9b4d399971282a61f393e675cb1168721d0");
  EXPECT_EQ(keys[1], ChainNext(keys[0], absl::MakeConstSpan(kTokens).subspan(4, 4)));
}

TEST(BlockKey, ChainKeysOfLessThanABlockAreNone) {
  EXPECT_TRUE(ChainKeys(BlockKey{}, {}, 64).empty());
  EXPECT_TRUE(ChainKeys(BlockKey{}, kTokens, 11).empty());
}

TEST(BlockKey, ChainKeyDependsOnEveryEarlierToken) {
  std::vector<int32_t> other = kTokens;
  other[0] = 100;
  const BlockKey root = ChainRoot("m", "");
  EXPECT_NE(ChainKeys(root, kTokens, 4)[1], ChainKeys(root, other, 4)[1]);
}

TEST(BlockKey, PrivateKeyHashesNonceLayerAndBlock) {
  BlockKey nonce;
  for (size_t i = 0; i < nonce.bytes.size(); ++i) nonce.bytes[i] = static_cast<uint8_t>(i);
  EXPECT_EQ(ToHex(PrivateKey(nonce, 7, 0x01020304)),
            "0cb4e56587e6758c54a721adc6877c82232fc3865fd353ef66c04ef4f6a3a7f1");
  EXPECT_NE(PrivateKey(nonce, 1, 2), PrivateKey(nonce, 2, 1));
}

TEST(BlockKey, UpperLayersKeyHashesTheBlocks) {
  BlockKey block;
  for (size_t i = 0; i < block.bytes.size(); ++i) block.bytes[i] = static_cast<uint8_t>(i);
  EXPECT_EQ(ToHex(UpperLayersKey(block)), "7bd7945282c3054e055ef873f6170b7baa67f6f6660a81ba43b56a26b37d37c5");
}

TEST(BlockKey, RandomKeysDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) seen.insert(ToHex(RandomKey()));
  EXPECT_EQ(seen.size(), 100u);
}

TEST(BlockKey, HexIsLowerCaseAndComplete) {
  BlockKey key;
  key.bytes.fill(0xAB);
  std::string expected;
  for (int i = 0; i < 32; ++i) expected += "ab";
  EXPECT_EQ(ToHex(key), expected);
}

}  // namespace
}  // namespace slimfill::kvstore
