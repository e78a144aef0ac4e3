"""The report on slimfill-eval's results: figures worked out by hand from three cases over two documents."""

import json
import math
import re

import eval_numbers as numbers
import eval_page
import eval_plot
import eval_report
import eval_tables
import pytest
from eval_data import BadResults, load

MADE = {"model": "tiny <1B>", "model_sha256": "aa", "corpus": "c0ffee", "max_tokens": 40, "program": "slimfill-eval 1"}


def line(case, document, arm, right, nll, flops, **more):
    return {
        "case": case,
        "document_id": document,
        "kind": "needle",
        "target_tokens": 1024,
        "judged": True,
        "arm": arm,
        "plan": "" if arm == "dense" else "p 1234",
        "right": right,
        "nll": nll,
        "answer_tokens": 2,
        "ttft_s": 1.0,
        "cached_tokens": 64,
        "same_as": "",
        "flops_ratio": flops,
        "recall": [],
        "fallbacks": [],
        **MADE,
        **more,
    }


LINES = [
    line("1", "a", "dense", False, 1.0, 1, ttft_s=8.0, cached_tokens=0),
    line("1", "a", "auto", True, 1.5, 2, ttft_s=2.0, cached_tokens=0, recall=[1, 0.5]),
    line("2", "a", "dense", True, 2.0, 1),
    line("2", "a", "auto", True, 1.75, 8, recall=[0.5]),
    line("3", "b", "dense", True, 1.0, 1, kind="multihop", target_tokens=2048, cached_tokens=0),
    line("3", "b", "auto", False, 2.0, 4, kind="multihop", target_tokens=2048, fallbacks=["entropy"], recall=[0]),
    # Nothing to judge and no reference answer: it counts for speed alone. Dense has not run the other.
    line("4", "b", "dense", False, 0, 1, judged=False, answer_tokens=0, kind="summary_control"),
    line("4", "b", "auto", False, 0, 4, judged=False, answer_tokens=0, kind="summary_control", fallbacks=["entropy"]),
    line("5", "b", "auto", True, 0.1, 9),
]


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "eval.jsonl"

    def write(lines, tail=""):
        path.write_text("".join(json.dumps(entry) + "\n" for entry in lines) + tail)
        return path

    return write


@pytest.fixture
def cases(results):
    (evaluation,) = load([results(LINES)])
    return numbers.paired(evaluation.cases.values(), "auto", "dense")


def test_accuracy_counts_judged_cases_both_arms_have_run(cases):
    assert len(cases) == 4
    difference = numbers.accuracy_difference(cases, "auto", "dense")
    # +1 and 0 in document a, -1 in b. Drawing a twice gives 1/2, b twice -1: each one time in four.
    assert (difference.mean, difference.low, difference.high) == (0, -1, 0.5)
    assert (difference.cases, difference.documents) == (3, 2)
    assert numbers.accuracy(cases, "dense").mean == 2 / 3


def test_nll_counts_cases_with_a_reference_answer(cases):
    difference = numbers.nll_difference(cases, "auto", "dense")
    # +0.5 and -0.25 in a, +1 in b.
    assert difference.mean == pytest.approx(1.25 / 3)
    assert (difference.low, difference.high, difference.cases) == (0.125, 1, 3)


def test_one_document_has_no_interval():
    value = numbers.estimate([("a", 1.0), ("a", 2.0)])
    assert (value.mean, value.low, value.high, value.cases, value.documents) == (1.5, None, None, 2, 1)
    assert eval_tables.points(value) == "+150.0"
    assert numbers.estimate([]).mean is None
    assert numbers.geometric([("a", math.log(2)), ("a", math.log(8))]).mean == pytest.approx(4)


def test_speedups_are_geometric_means(cases):
    speedup = numbers.flops_speedup(cases, "auto", "dense")
    assert speedup.mean == pytest.approx((2 * 8 * 4 * 4) ** 0.25)
    # Of the two documents' means of logarithms, a's is log 4 and b's too.
    assert (speedup.low, speedup.high) == (pytest.approx(4), pytest.approx(4))


def test_ttft_counts_where_both_prefills_were_cold(cases):
    speedup = numbers.ttft_speedup(cases, "auto", "dense")
    assert (speedup.mean, speedup.cases) == (pytest.approx(4), 1)
    assert numbers.cold_ttft({"ttft_s": 2.0}) is None
    assert numbers.cold_ttft({"ttft_s": 0, "cached_tokens": 0, "same_as": "dense"}) is None


def test_recall_is_by_pruning(cases):
    first, second = numbers.recall_by_pruning(cases, "auto")
    assert (first.mean, first.cases) == (0.5, 3)
    assert (second.mean, second.cases) == (0.5, 1)


def test_fallbacks_are_counted_by_reason(cases):
    assert numbers.fallbacks(cases, "auto") == {"entropy": 2, "": 2}


def test_tables_state_cases_and_documents(results):
    (evaluation,) = load([results(LINES)])
    by_title = {table.title: table for table in eval_tables.tables(evaluation, "dense")}
    assert by_title["Arms"].rows == [
        ["dense", "4", "2", "66.7 %", "–", "–", "1.00x", "1.00x (2)"],
        ["auto", "4", "2", "66.7 %", "+0.0 [-100.0, +50.0]", "+0.417 [+0.125, +1.000]", "4.00x", "4.00x (1)"],
    ]
    assert by_title["Accuracy, points by kind"].rows == [
        ["multihop", "1", "1", "100.0 %", "-100.0 (1/1)"],
        ["needle", "2", "1", "50.0 %", "+50.0 (2/1)"],
        ["summary_control", "1", "1", "–", "–"],
    ]
    assert [row[0] for row in by_title["Answer NLL, nats a token by tokens"].rows] == ["1024", "2048"]
    assert by_title["Evidence kept"].rows == [["auto", "50.0 % (3/2)", "50.0 % (1/1)"]]
    assert by_title["Fallbacks"].header[-1] == "entropy"
    assert by_title["Fallbacks"].rows[1] == ["auto", "4", "2", "2"]


def test_a_last_line_that_was_cut_off_does_not_count(results):
    (evaluation,) = load([results(LINES, tail='{"case": "6", "arm"')])
    assert len(evaluation.cases) == 5


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "no results"),
        ([{"case": "1"}], "line 1 is not slimfill-eval's"),
        ([LINES[0], LINES[0]], "line 2: case 1 of arm dense comes twice"),
        ([LINES[1], {**LINES[3], "plan": "q 9"}], "two reports"),
    ],
)
def test_other_files_are_refused(results, lines, why):
    with pytest.raises(BadResults, match=why):
        load([results(lines)])


def test_models_are_kept_apart(results):
    other = [{**entry, "model": "other", "model_sha256": "bb"} for entry in LINES]
    assert [evaluation.model for evaluation in load([results([*LINES, *other])])] == ["tiny <1B>", "other"]


def test_files_without_provenance_are_read(results):
    old = [{key: value for key, value in entry.items() if key not in (*MADE, "document_id")} for entry in LINES]
    (evaluation,) = load([results(old)])
    assert evaluation.model == "unknown"
    assert evaluation.cases["1"].document == "1"


def test_ticks_are_round():
    assert eval_plot.ticks(0.9, 3.1) == [1, 1.5, 2, 2.5, 3]
    assert eval_plot.ticks(-12, 31) == [-10, 0, 10, 20, 30]


def test_names_do_not_cover_each_other():
    heights = eval_plot.label_heights([100, 101, 99, 300])
    assert sorted(heights) == [99, 114, 129, 300]
    low = eval_plot.label_heights([eval_plot.HEIGHT, eval_plot.HEIGHT])
    assert max(low) <= eval_plot.HEIGHT - eval_plot.BOTTOM


def test_marks_stand_side_by_side():
    assert eval_plot.apart([100, 300, 104]) == [97, 300, 107]
    assert eval_plot.apart([5]) == [5]
    # Their names begin behind the last of them.
    assert eval_plot.row_end(97, [97, 300, 107]) == 107
    assert eval_plot.row_end(300, [97, 300, 107]) == 300


def test_page_is_whole_in_itself(results):
    page = eval_page.html(load([results(LINES)]), "dense")
    assert page.count("<svg") == 4  # two qualities, by FLOPs and by TTFT
    assert "tiny &lt;1B&gt;" in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page


def test_command_writes_both(results, tmp_path, capsys):
    out = tmp_path / "report"
    assert eval_report.main([str(results(LINES)), "--out", str(out)]) == 0
    assert "## tiny <1B>" in (out / "report.md").read_text()
    assert "4 cases over 2 documents" not in (out / "report.md").read_text()  # there are five, one of them unpaired
    assert "5 cases over 2 documents" in (out / "report.md").read_text()
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    assert eval_report.main([str(results(LINES)), "--out", str(out), "--base", "oracle"]) == 1
    assert "name another --base" in capsys.readouterr().err
