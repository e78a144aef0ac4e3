// Unicode normalisation form C (canonical composition), with the way back to offsets in the original text.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace slimfill::engine {

class NfcText {
 public:
  // `text` is valid UTF-8 of at most 1 GiB and is borrowed: most text is in form C already and is not copied. Linear
  // but for the sorting of runs of combining marks.
  static absl::StatusOr<NfcText> Normalize(absl::string_view text);
  ~NfcText();
  NfcText(NfcText&&) noexcept;
  NfcText& operator=(NfcText&&) noexcept;

  absl::string_view text() const;
  // The offset in the original text that corresponds to `offset` in text(). Inside a stretch that normalisation
  // changed: that stretch's end. Fast for offsets asked in ascending order; not thread safe.
  size_t OriginalOffset(size_t offset);

 private:
  NfcText();
  struct Changed;
  absl::string_view original_;
  std::unique_ptr<Changed> changed_;  // null when the text was in form C
};

}  // namespace slimfill::engine
