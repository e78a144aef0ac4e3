// Row ops against the reference: embedding, normalisation, rotation, gathering, reading.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/engine/ops/ops_test_util.h"

namespace slimfill::engine {
namespace {

constexpr int64_t kRowCounts[] = {0, 1, 2, 63, 64, 65, 129, 500};

class RowOpsTest : public OpsTest {};
INSTANTIATE_TEST_SUITE_P(Backends, RowOpsTest, testing::ValuesIn(BackendCases()), BackendCaseName);

TEST_P(RowOpsTest, EmbedsTheTokensRows) {
  Random random(1);
  const std::vector<float> values = random.Values(40 * 72);
  const TestWeight table(40, 72, values);
  for (int64_t rows : kRowCounts) {
    std::vector<TokenId> tokens(rows);
    for (int64_t i = 0; i < rows; ++i) tokens[i] = static_cast<TokenId>(i * 7 % 40);
    TestMatrix out(*backend_, DType::kF32, rows, 72);
    backend_->EmbedRows(table.matrix(), tokens, out.view());
    const std::vector<float> got = out.Read();
    for (int64_t i = 0; i < rows * 72; ++i) ASSERT_EQ(got[i], values[tokens[i / 72] * 72 + i % 72]);
  }
}

TEST_P(RowOpsTest, RmsNormMatchesReferenceInEveryBatch) {
  Random random(2);
  for (int64_t cols : {8, 33, 576, 896}) {
    const std::vector<float> weight = random.Values(cols);
    const auto w = *backend_->Upload(weight);
    const auto ref_w = *ref_->Upload(weight);
    for (int64_t rows : kRowCounts) {
      const std::vector<float> x = random.Values(rows * cols, 3.0f);
      TestMatrix in(*backend_, DType::kF32, rows, cols, x), out(*backend_, act(), rows, cols);
      TestMatrix ref_in(*ref_, DType::kF32, rows, cols, x), ref_out(*ref_, DType::kF32, rows, cols);
      backend_->RmsNorm(in.view(), *w, 1e-6f, out.view());
      ref_->RmsNorm(ref_in.view(), *ref_w, 1e-6f, ref_out.view());
      EXPECT_LE(RowError(out.Read(), ref_out.Read(), cols), Tolerance(*backend_, 0, 4e-3)) << rows << " x " << cols;
      for (int64_t row : {int64_t{0}, rows / 2, rows - 1}) {
        if (rows == 0) break;
        TestMatrix alone(*backend_, act(), 1, cols);
        backend_->RmsNorm(in.view().Rows(row, 1), *w, 1e-6f, alone.view());
        EXPECT_EQ(alone.RowBytes(0), out.RowBytes(row));
      }
    }
  }
}

TEST_P(RowOpsTest, RmsNormOfZerosIsZero) {
  const auto w = *backend_->Upload(std::vector<float>(64, 1.0f));
  TestMatrix in(*backend_, DType::kF32, 1, 64, std::vector<float>(64)), out(*backend_, act(), 1, 64);
  backend_->RmsNorm(in.view(), *w, 1e-6f, out.view());
  EXPECT_EQ(out.Read(), std::vector<float>(64));
}

TEST_P(RowOpsTest, NormalisesEveryQueryAndKeyHeadByItself) {
  Random random(6);
  for (const AttentionShape& shape : {AttentionShape{2, 2, 16}, {6, 2, 64}, {7, 1, 80}, {4, 4, 96}, {8, 2, 128}}) {
    const std::vector<float> q_weight = random.Values(shape.head_dim), k_weight = random.Values(shape.head_dim);
    const auto q = *backend_->Upload(q_weight), k = *backend_->Upload(k_weight);
    const auto ref_q = *ref_->Upload(q_weight), ref_k = *ref_->Upload(k_weight);
    for (int64_t rows : kRowCounts) {
      const std::vector<float> values = random.Values(rows * shape.qkv_cols(), 3.0f);
      TestMatrix qkv(*backend_, act(), rows, shape.qkv_cols(), values);
      TestMatrix ref_qkv(*ref_, DType::kF32, rows, shape.qkv_cols(), values);
      backend_->NormHeads(qkv.view(), *q, *k, 1e-6f, shape);
      ref_->NormHeads(ref_qkv.view(), *ref_q, *ref_k, 1e-6f, shape);
      const std::vector<float> got = qkv.Read(), want = ref_qkv.Read();
      EXPECT_LE(RowError(got, want, shape.head_dim), Tolerance(*backend_, 0, 4e-3)) << rows << ", " << shape.head_dim;
      for (int64_t row = 0; row < rows; ++row) {  // values are left as they are
        const auto v = (row + 1) * shape.qkv_cols() - shape.kv_cols();
        ASSERT_TRUE(std::equal(got.begin() + v, got.begin() + v + shape.kv_cols(), values.begin() + v));
      }
      for (int64_t row : {int64_t{0}, rows / 2, rows - 1}) {
        if (rows == 0) break;
        const std::vector<float> one(values.begin() + row * shape.qkv_cols(),
                                     values.begin() + (row + 1) * shape.qkv_cols());
        TestMatrix alone(*backend_, act(), 1, shape.qkv_cols(), one);
        backend_->NormHeads(alone.view(), *q, *k, 1e-6f, shape);
        EXPECT_EQ(alone.RowBytes(0), qkv.RowBytes(row));
      }
    }
  }
}

TEST_P(RowOpsTest, HeadNormFollowsItsFormula) {
  const AttentionShape shape{1, 1, 16};
  const auto weight = *backend_->Upload(std::vector<float>(16, 2.0f));
  std::vector<float> row(48, 3.0f);
  row[0] = -3.0f;
  TestMatrix qkv(*backend_, act(), 1, 48, row);
  backend_->NormHeads(qkv.view(), *weight, *weight, 0.0f, shape);
  std::vector<float> want(48, 2.0f);  // every element is 3 in size, so the mean square's root is 3
  want[0] = -2.0f;
  std::fill(want.begin() + 32, want.end(), 3.0f);
  EXPECT_EQ(qkv.Read(), want);
}

std::vector<float> CosSin(int32_t context, int head_dim) {
  std::vector<float> table(int64_t{context} * head_dim);
  for (int32_t p = 0; p < context; ++p) {
    for (int i = 0; i < head_dim / 2; ++i) {
      const double angle = p * std::pow(10000.0, -2.0 * i / head_dim);
      table[int64_t{p} * head_dim + i] = static_cast<float>(std::cos(angle));
      table[int64_t{p} * head_dim + head_dim / 2 + i] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

struct Rotated {
  std::vector<float> q;
  std::vector<float> attended;  // every row's own attention: sees the keys and values that were written
};

Rotated RotateAndAttend(Backend& backend, const AttentionShape& shape, const std::vector<int32_t>& blocks,
                        const std::vector<int32_t>& positions, const std::vector<float>& qkv) {
  const int64_t rows = static_cast<int64_t>(positions.size());
  const auto table = *backend.Upload(CosSin(positions.empty() ? 1 : positions.back() + 1, shape.head_dim));
  TestKv kv(backend, shape, blocks);
  TestMatrix matrix(backend, backend.activation_dtype(), rows, shape.qkv_cols(), qkv);
  backend.RopeAppendKv(matrix.view(), positions, *table, shape, kv.view());
  const std::vector<float> all = matrix.Read();
  Rotated result;
  for (int64_t i = 0; i < rows; ++i) {
    const auto row = all.begin() + i * shape.qkv_cols();
    result.q.insert(result.q.end(), row, row + shape.q_cols());
  }
  Matrix q = matrix.view();
  q.cols = shape.q_cols();
  TestMatrix out(backend, backend.activation_dtype(), rows, shape.q_cols());
  backend.Attention(q, positions, shape, kv.view(), out.view());
  result.attended = out.Read();
  return result;
}

TEST_P(RowOpsTest, RotatesQueriesAndWritesKeysAndValues) {
  Random random(3);
  const std::vector<int32_t> blocks = {0, 2, 3, 7};
  for (const AttentionShape& shape : {AttentionShape{2, 2, 16}, {6, 2, 64}, {7, 1, 80}, {4, 4, 96}, {8, 2, 128}}) {
    for (int32_t last : {-1, 0, 1, 63, 128, 200, 460}) {
      const std::vector<int32_t> positions = PositionsOf(blocks, last);
      const std::vector<float> qkv = random.Values(static_cast<int64_t>(positions.size()) * shape.qkv_cols());
      const Rotated got = RotateAndAttend(*backend_, shape, blocks, positions, qkv);
      const Rotated want = RotateAndAttend(*ref_, shape, blocks, positions, qkv);
      EXPECT_LE(RowError(got.q, want.q, shape.q_cols()), Tolerance(*backend_, 0, 4e-3)) << shape.head_dim;
      EXPECT_LE(RowError(got.attended, want.attended, shape.q_cols()), Tolerance(*backend_, 0, 8e-3))
          << shape.head_dim << " up to " << last;
    }
  }
}

TEST_P(RowOpsTest, DecodeAppendsEachRowToItsOwnSequence) {
  Random random(7);
  for (const AttentionShape& shape : {AttentionShape{2, 2, 16}, {6, 2, 64}, {8, 2, 128}}) {
    const std::vector<int32_t> positions = {0, 63, 200, 64};
    const std::vector<std::vector<int32_t>> blocks = {{0}, {0}, {0, 2, 3}, {0, 1}};
    const std::vector<float> values = random.Values(4 * shape.qkv_cols());
    const auto table = *backend_->Upload(CosSin(201, shape.head_dim));
    TestMatrix together(*backend_, act(), 4, shape.qkv_cols(), values);
    TestMatrix alone(*backend_, act(), 4, shape.qkv_cols(), values);
    std::vector<std::unique_ptr<TestKv>> together_kv, alone_kv;
    std::vector<KvLayerView> views;
    for (const std::vector<int32_t>& held : blocks) {
      together_kv.push_back(std::make_unique<TestKv>(*backend_, shape, held));
      alone_kv.push_back(std::make_unique<TestKv>(*backend_, shape, held));
      views.push_back(together_kv.back()->view());
    }
    backend_->RopeAppendKvDecode(together.view(), positions, *table, shape, views);
    std::vector<std::byte> got(backend_->KvPageBytes(shape)), want(got.size());
    for (size_t i = 0; i < positions.size(); ++i) {
      backend_->RopeAppendKv(alone.view().Rows(static_cast<int64_t>(i), 1), {positions[i]}, *table, shape,
                             alone_kv[i]->view());
      EXPECT_EQ(together.RowBytes(static_cast<int64_t>(i)).substr(0, shape.q_cols() * DTypeBytes(act())),
                alone.RowBytes(static_cast<int64_t>(i)).substr(0, shape.q_cols() * DTypeBytes(act())));
      for (size_t page = 0; page < blocks[i].size(); ++page) {
        backend_->ReadPage(views[i][page].page, absl::MakeSpan(got));
        backend_->ReadPage(alone_kv[i]->view()[page].page, absl::MakeSpan(want));
        EXPECT_EQ(got, want);
      }
    }
  }
}

TEST_P(RowOpsTest, ChoosesTheFirstOfTheLargestFiniteElements) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  Random random(8);
  for (int64_t cols : {1, 31, 500, 3001}) {
    std::vector<float> values = random.Values(6 * cols, 5.0f);
    std::vector<TokenId> want(6);
    for (int64_t row = 0; row < 6; ++row) {
      float* begin = values.data() + row * cols;
      if (row == 1) std::fill_n(begin, cols, -7.0f);
      if (row == 2) begin[cols / 2] = 9, begin[cols - 1] = 9;
      if (row == 3) begin[cols / 3] = kInf, begin[0] = kNan;
      if (row == 4) std::fill_n(begin, cols, kNan);
      if (row == 5) std::fill_n(begin, cols, -kInf);
      want[row] = -1;
      for (int64_t j = 0; j < cols; ++j) {
        if (std::isfinite(begin[j]) && (want[row] < 0 || begin[j] > begin[want[row]])) {
          want[row] = static_cast<TokenId>(j);
        }
      }
    }
    TestMatrix matrix(*backend_, DType::kF32, 6, cols, values);
    std::vector<TokenId> got(6, 77);
    backend_->ArgmaxRows(matrix.view(), absl::MakeSpan(got));
    EXPECT_EQ(got, want) << cols;
  }
}

TEST_P(RowOpsTest, GathersAnyOfManyRows) {
  constexpr int64_t kRows = 70000;
  std::vector<float> values(kRows);
  std::iota(values.begin(), values.end(), 0.0f);
  const std::vector<std::vector<int32_t>> kept = {
      {0}, {31, 32}, {69999}, {0, 69999}, {5, 8191, 8192, 8193, 33000, 65535, 65536, 69998}, [] {
        std::vector<int32_t> blocks;  // of 64 rows, some side by side, not at the beginning of a word
        for (int32_t block : {3, 4, 5, 200, 512, 513, 1000}) {
          for (int32_t i = 0; i < 64; ++i) blocks.push_back(17 + block * 64 + i);
        }
        return blocks;
      }()};
  for (const std::vector<int32_t>& rows : kept) {
    const int64_t count = static_cast<int64_t>(rows.size());
    const std::vector<float> want(rows.begin(), rows.end());
    TestMatrix src(*backend_, DType::kF32, kRows, 1, values), dst(*backend_, DType::kF32, count, 1);
    backend_->GatherRows(src.view(), rows, dst.view());
    EXPECT_EQ(dst.Read(), want);
    backend_->GatherRows(src.view(), rows, src.view().Rows(0, count));
    std::vector<float> in_place(count);
    backend_->ReadRows(src.view().Rows(0, count), absl::MakeSpan(in_place));
    EXPECT_EQ(in_place, want);
  }
}

// Rows of all kinds, and what TopRows has to tell of them.
struct TopRowsCase {
  static constexpr int64_t kRows = 6;
  TopRowsCase(int64_t cols, int64_t count, uint64_t seed) : values(Random(seed).Values(kRows * cols, 3.0f)) {
    constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
    for (int64_t j = 0; j < cols; ++j) {
      values[cols + j] = j % 6 == 0 ? -0.0f : static_cast<float>(j % 3);  // equals, 0 and -0 among them
      values[2 * cols + j] = static_cast<float>(j) / 50;                  // the best come last
      if (j % 10 != 9) values[3 * cols + j] = j % 2 == 0 ? kNan : kInf;
      values[4 * cols + j] = -kInf;
      values[5 * cols + j] *= 1e38f;
    }
    for (int64_t row = 0; row < kRows; ++row) Expect(values.data() + row * cols, cols, count, temperatures[row]);
  }
  void Expect(const float* row, int64_t cols, int64_t count, float temperature) {
    std::vector<TokenId> order;
    for (int64_t j = 0; j < cols; ++j) {
      if (std::isfinite(row[j])) order.push_back(static_cast<TokenId>(j));
    }
    std::stable_sort(order.begin(), order.end(), [row](TokenId a, TokenId b) { return row[a] > row[b]; });
    for (int64_t k = 0; k < count; ++k) {
      const bool there = k < static_cast<int64_t>(order.size());
      want.indices.push_back(there ? order[k] : -1);
      want.values.push_back(there ? row[order[k]] : 0.0f);
    }
    double mass = 0;
    for (TokenId j : order) mass += std::exp((double{row[j]} - row[order[0]]) / temperature);
    want.masses.push_back(static_cast<float>(mass));
  }
  const std::vector<float> temperatures = {1, 0.7f, 1.5f, 0.3f, 1, 2};
  std::vector<float> values;
  RowTops want;
};

TEST_P(RowOpsTest, TopRowsAreTheLargestFiniteElementsInOrderAndTheMassOfAll) {
  for (const int64_t cols : {1, 5, 64, 1000, 3001, 20000}) {
    for (const int64_t count : {1, 7, 64}) {
      const TopRowsCase rows(cols, count, 46);
      const TestMatrix matrix(*backend_, DType::kF32, TopRowsCase::kRows, cols, rows.values);
      const RowTops got = backend_->TopRows(matrix.view(), count, rows.temperatures);
      EXPECT_EQ(got.indices, rows.want.indices) << cols << ", " << count;
      EXPECT_EQ(got.values, rows.want.values) << cols << ", " << count;
      ASSERT_EQ(got.masses.size(), rows.want.masses.size());
      for (size_t i = 0; i < got.masses.size(); ++i) {
        // Half of what is promised: the sampler's own sums are apart from the true ones, too.
        EXPECT_NEAR(got.masses[i], rows.want.masses[i], rows.want.masses[i] * RowTops::kMassError / 2)
            << cols << ", " << count << ", row " << i;
      }
      for (int64_t i = 0; i < TopRowsCase::kRows; ++i) {
        const RowTops alone =
            backend_->TopRows(matrix.view().Rows(i, 1), count, absl::MakeConstSpan(rows.temperatures).subspan(i, 1));
        EXPECT_EQ(alone.masses[0], got.masses[i]) << "a row alone equals the row in a batch";
        EXPECT_EQ(alone.indices[0], got.indices[i * count]);
      }
    }
  }
}

TEST_P(RowOpsTest, TopRowsWithoutTheirMass) {
  std::vector<float> values(9000);
  for (size_t j = 0; j < values.size(); ++j) values[j] = static_cast<float>(j * 37 % 9000);  // each number once
  const TestMatrix matrix(*backend_, DType::kF32, 1, 9000, values);
  const RowTops tops = backend_->TopRows(matrix.view(), 30, {0.0f});
  for (int k = 0; k < 30; ++k) {
    EXPECT_EQ(tops.values[k], 8999 - k);
    EXPECT_EQ(tops.values[k], values[tops.indices[k]]);
  }
  EXPECT_EQ(tops.masses[0], 0) << "at temperature 0 it is not asked for";
}

TEST_P(RowOpsTest, ReadsWhatWasThereWhenTheReadBegan) {
  const int64_t bytes = 100 * 1000;
  std::vector<std::unique_ptr<Buffer>> pages;
  std::vector<absl::Span<const std::byte>> sources;
  std::vector<std::byte> want;
  const auto data = [&](size_t i) { return static_cast<std::byte*>(pages[i]->data()); };
  for (int i = 0; i < 20; ++i) {
    pages.push_back(*backend_->Allocate(bytes));
    const std::vector<std::byte> content(bytes, static_cast<std::byte>(i + 1));
    backend_->WritePage(content, data(i));
    sources.emplace_back(data(i), bytes);
    want.insert(want.end(), content.begin(), content.end());
  }
  std::vector<std::byte> got(20 * bytes), dropped(bytes);
  { const std::unique_ptr<PendingRead> unwanted = backend_->BeginRead({sources[3]}, absl::MakeSpan(dropped)); }
  const std::unique_ptr<PendingRead> pending = backend_->BeginRead(sources, absl::MakeSpan(got));
  for (int i = 0; i < 20; i += 2) backend_->ZeroPage(data(i), bytes);
  for (int i = 1; i < 20; i += 2) backend_->WritePage(std::vector<std::byte>(bytes), data(i));
  if (pending != nullptr) {
    EXPECT_TRUE(pending->Wait().ok());
  }
  EXPECT_EQ(got, want);
  for (int i = 0; i < 20; ++i) {
    std::vector<std::byte> now(bytes, std::byte{9});
    backend_->ReadPage(data(i), absl::MakeSpan(now));
    EXPECT_EQ(now, std::vector<std::byte>(bytes));
  }
  EXPECT_TRUE(backend_->Finish().ok());
}

TEST_P(RowOpsTest, GathersRowsIntoAnotherMatrixAndInPlace) {
  Random random(4);
  for (int64_t rows : kRowCounts) {
    const std::vector<float> values = random.Values(rows * 40);
    std::vector<int32_t> kept;
    for (int64_t i = 0; i < rows; ++i) {
      if (i % 3 != 1) kept.push_back(static_cast<int32_t>(i));
    }
    std::vector<float> want;
    for (int32_t row : kept) want.insert(want.end(), values.begin() + row * 40, values.begin() + (row + 1) * 40);
    const int64_t count = static_cast<int64_t>(kept.size());
    TestMatrix src(*backend_, DType::kF32, rows, 40, values), dst(*backend_, DType::kF32, count, 40);
    backend_->GatherRows(src.view(), kept, dst.view());
    EXPECT_EQ(dst.Read(), want);
    backend_->GatherRows(src.view(), kept, src.view().Rows(0, count));
    std::vector<float> in_place = src.Read();
    in_place.resize(want.size());
    EXPECT_EQ(in_place, want);
  }
}

TEST_P(RowOpsTest, ReadsRowsOfBothTypes) {
  Random random(5);
  for (DType dtype : {DType::kF32, act()}) {
    for (int64_t rows : kRowCounts) {
      const std::vector<float> values = random.Values(rows * 45);
      TestMatrix src(*backend_, dtype, rows, 45, values);
      std::vector<float> host(rows * 45 + 1, 7.0f);
      backend_->ReadRows(src.view(), absl::MakeSpan(host).first(rows * 45));
      EXPECT_EQ(host.back(), 7.0f);
      host.pop_back();
      EXPECT_EQ(host, values);
    }
  }
}

TEST_P(RowOpsTest, PagesKeepWhatIsWrittenAndAreZeroedOnDemand) {
  const AttentionShape shape{6, 2, 64};
  const int64_t bytes = backend_->KvPageBytes(shape);
  const auto page = *backend_->Allocate(bytes);
  auto* data = static_cast<std::byte*>(page->data());
  std::vector<std::byte> written(bytes), read(bytes);
  for (int64_t i = 0; i < bytes; ++i) written[i] = static_cast<std::byte>(i * 31);
  backend_->ReadPage(data, absl::MakeSpan(read));
  EXPECT_EQ(read, std::vector<std::byte>(bytes));
  backend_->WritePage(written, data);
  backend_->ReadPage(data, absl::MakeSpan(read));
  EXPECT_EQ(read, written);
  backend_->ZeroPage(data, bytes);
  backend_->ReadPage(data, absl::MakeSpan(read));
  EXPECT_EQ(read, std::vector<std::byte>(bytes));
}

TEST_P(RowOpsTest, RefusesMemoryNobodyHas) {
  const auto buffer = backend_->Allocate(int64_t{1} << 60);
  EXPECT_EQ(buffer.status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace slimfill::engine
