// Questions put to an engine: to see what its heads do, or how plans answer.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/calibrate/observation.h"
#include "engine/calibrate/observation_file.h"
#include "engine/eval/arm.h"
#include "engine/eval/corpus.h"
#include "engine/eval/run.h"
#include "engine/eval/summary.h"
#include "engine/study_engine.h"

namespace slimfill::calibrate {

struct Questions {
  const eval::Corpus& corpus;
  std::vector<int64_t> lengths;  // tokens of the documents
  int shared = 1;                // that may share a document
  std::vector<std::string> kinds;
  int cases = 1;  // of each kind and length
  uint64_t seed = 1;
};

// All of these show progress under the name `what`, and end the program when the engine or the corpus refuse.

// What heads do with each question's prompt; from `file` where it is known, else added to it.
std::vector<Observation> Observe(engine::StudyEngine& engine, const Questions& questions, const std::string& what,
                                 ObservationFile& file);

// The arms' answers, each case by all arms; of the first cases only, when `stop` says so of those.
using StopRule = std::function<bool(const std::vector<eval::CaseResult>&)>;
std::vector<eval::CaseResult> RunCases(engine::StudyEngine& engine, const Questions& questions, const std::string& what,
                                       const std::vector<eval::Arm>& arms, const eval::RunOptions& options,
                                       const StopRule& stop = nullptr);

}  // namespace slimfill::calibrate
