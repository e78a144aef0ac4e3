"""What the speed benchmark reads and prints: arguments, /proc, the drivers' lines, tables."""

import argparse
import sys
from xml.etree import ElementTree

import machine
import prefill
import prefix
import pytest
import run
from driver import Driver, DriverError
from table import markdown, number

SVG = "{http://www.w3.org/2000/svg}"
STAT = "cpu  100 10 50 9999 77 3 2 5 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"


def test_lengths_are_a_list_within_the_models_context():
    assert run.lengths("2048,8192") == [2048, 8192]
    for bad in ("100", "2048,40000"):
        with pytest.raises(argparse.ArgumentTypeError, match="between 256 and 32768"):
            run.lengths(bad)


def test_arguments_have_defaults():
    arguments = run.parse(["prefill"])
    assert (arguments.tokens, arguments.repeats, arguments.json) == ([2048, 8192], 3, None)
    assert "torch-bf16" in arguments.engines


@pytest.mark.parametrize(
    "words",
    [["suffix"], ["prefill", "--repeats", "0"], ["prefill", "--engines", "vllm"], ["decode", "--tokens", "many"]],
)
def test_bad_arguments_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        run.parse(words)
    assert "error" in capsys.readouterr().err


def test_busy_time_is_without_idle_and_waiting():
    assert machine.busy_seconds(STAT) == (100 + 10 + 50 + 3 + 2 + 5) / machine.TICKS


def test_process_time_is_found_behind_any_name():
    stat = "7 (a) b (c) S " + " ".join(["0"] * 10) + " 200 100 0 0"
    assert machine.process_seconds(stat) == 300 / machine.TICKS


def test_own_work_is_not_counted_as_others():
    assert machine.cores_of_others((100, 10, 5), (120, 25, 15)) == 0.5
    assert machine.cores_of_others((100, 10, 5), (109.9, 20, 15)) == 0
    assert machine.cores_of_others((100, 10, 5), (100, 10, 5)) == 0


def test_watch_reads_this_machine():
    assert 0 <= machine.OthersWatch([]).cores_used_by_others()


def test_batch_sizes_are_a_list_within_reason():
    assert run.batch_sizes("256,512") == [256, 512]
    with pytest.raises(argparse.ArgumentTypeError, match="between 32 and 4096"):
        run.batch_sizes("16")


def test_table_is_markdown_with_numbers_to_the_right():
    assert markdown(["engine", "s"], [["ours", "1.00"], ["torch", "12.00"]]).splitlines() == [
        "| engine |     s |",
        "| ------ | ----: |",
        "| ours   |  1.00 |",
        "| torch  | 12.00 |",
    ]


def test_unknown_numbers_are_a_dash():
    assert (number(None), number(1.239), number(87.6, 0)) == ("–", "1.24", "88")


def test_footnote_says_that_the_machine_was_shared():
    result = {
        "machine": {"cpu": "CPU", "cores": 2},
        "peak_gflops": 460.2,
        "threads": 2,
        "versions": {"ours": "1"},
        "cores_used_by_others": 0.5,
    }
    assert "used 0.50 of its cores" in run.footnote(result)
    assert "shared" not in run.footnote(result | {"cores_used_by_others": 0.01})


DRIVER = """
import sys
sys.path.insert(0, {folder!r})
from lines import serve, timed

def make():
    print("a library's chatter")
    return {{"version": "1"}}, {{"add": lambda r: {{"sum": r["a"] + r["b"]}}, "die": lambda r: sys.exit("boom"),
                              "time": lambda r: timed(lambda: 5)}}

serve(make)
"""


@pytest.fixture
def driver(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(DRIVER.format(folder=str(run.setting.HERE)))
    child = Driver("child", [sys.executable, script])
    yield child
    child.close()


def test_driver_answers_line_by_line(driver):
    assert driver.about["version"] == "1"
    assert driver.ask("add", a=2, b=3) == {"sum": 5}
    answer = driver.ask("time")
    assert answer["result"] == 5 and 0 <= answer["wall_s"] < 5 and answer["cpu_s"] >= 0


def test_a_bad_request_is_an_error_and_the_driver_lives(driver):
    with pytest.raises(DriverError, match="KeyError"):
        driver.ask("add", a=2)
    assert driver.ask("add", a=2, b=3) == {"sum": 5}


def test_a_driver_that_dies_shows_its_last_words(driver):
    with pytest.raises(DriverError, match="(?s)child ended unexpectedly.*boom"):
        driver.ask("die")


def test_prefix_rows_say_what_was_reused():
    cold = {"wall_s": 4.0, "cpu_s": 8.0, "token": 7, "cached_tokens": 0}
    warm = {"wall_s": 1.0, "cpu_s": 2.0, "token": 7, "cached_tokens": 960}
    rows = prefix.make_rows({"ours-pruned": [cold, cold], "ours-pruned-warm": [warm, warm | {"wall_s": 3.0}]}, 1024)
    assert [(row["engine"], row["wall_s"], row["cached_tokens"]) for row in rows] == [
        ("ours-pruned", 4.0, 0),
        ("ours-pruned-warm", 2.0, 960),
    ]
    assert "| ours-pruned-warm |   1024 |    960 |   2.00 |" in prefix.tables({"rows": rows, "ratios": []})


def test_picture_has_a_bar_for_each_row_in_proportion():
    rows = [
        {"engine": "ours-pruned", "tokens": 2048, "wall_s": 1.0},
        {"engine": "torch-bf16", "tokens": 2048, "wall_s": 4.0},
        {"engine": "ours-pruned", "tokens": 8192, "wall_s": 8.0},
    ]
    picture = ElementTree.fromstring(prefill.picture({"rows": rows}))
    bars = [element for element in picture.iter(f"{SVG}rect") if element.get("class") != "page"]
    assert [bar.get("class") for bar in bars] == ["ours", "other", "ours"]
    widths = [float(bar.get("width")) for bar in bars]
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.01) and widths[2] == pytest.approx(widths[0] / 2, rel=0.01)
    texts = [element.text for element in picture.iter(f"{SVG}text")]
    assert {"2048 tokens", "8192 tokens", "torch-bf16", "2048", "512", "1024"} <= set(texts)
