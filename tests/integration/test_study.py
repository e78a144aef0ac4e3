"""A plan for a model, and what it costs in answers, as one who brings a model would find out: on one small model and short
documents, with as few questions as there can be."""
import json
import pathlib
import subprocess

import pytest
from programs import BIN, SMOLLM2

pytestmark = pytest.mark.skipif(not SMOLLM2.exists(), reason="models are not there: run scripts/setup.sh")


def run(program: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([BIN / program, "--model", SMOLLM2, *map(str, arguments)], capture_output=True, text=True,
                          timeout=600)


def calibrate(folder: pathlib.Path, *arguments: object) -> subprocess.CompletedProcess:
    return run("slimfill-calibrate", "--out", folder / "plan.json", "--observations", folder / "observations.jsonl",
               "--lengths", 1024, "--cases", 2, "--shared", 2, "--recall", 0.8, "--margin", 1, *arguments)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated")
    done = calibrate(folder, "--trial-cases", 1, "--threshold-cases", 1, "--verify-cases", 1)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_plan_is_found_and_tried_and_says_what_it_comes_from(calibrated):
    folder, done = calibrated
    plan = json.loads((folder / "plan.json").read_text())
    evidence = plan["evidence"]
    # (7,7) is the head of this model's early layers that looks things up, however few the questions.
    findings = evidence["first_pruning"]
    best = max(findings[:10], key=lambda finding: finding["recall"][3])
    assert best["layer"] == 7 and best["heads"][0] == [7, 7]
    assert plan["stages"][0]["heads"] == findings[plan["stages"][0]["prune_layer"]]["heads"]
    assert evidence["learned_from"].startswith("14 prompts")
    assert evidence["recall"] >= 0.8 and evidence["flops_ratio"] > 1
    assert len(evidence["trials"]) == 1 and evidence["trials"][0]["loss"] <= 1
    assert "| plan |" in evidence["verified"] and evidence["verified"] in done.stdout
    assert "learning 14/14" in done.stderr and "trying plan 1 of" in done.stderr


def test_what_was_seen_is_not_looked_at_again(calibrated):
    folder, _ = calibrated
    observations = folder / "observations.jsonl"
    before = observations.read_bytes()
    first = json.loads((folder / "plan.json").read_text())
    observations.write_bytes(before[:-1000])  # stopped while it wrote the last one
    done = calibrate(folder, "--trial-cases", 0, "--threshold-cases", 1, "--verify-cases", 0)
    assert done.returncode == 0, done.stderr
    assert observations.read_bytes() == before
    again = json.loads((folder / "plan.json").read_text())
    for key in ("stages", "min_peak", "max_entropy"):
        assert again[key] == first[key]
    assert again["evidence"]["trials"] == []


@pytest.mark.parametrize("flag, value", [("--recall", "2"), ("--shared", "0"), ("--lengths", "many"), ("--linear", "fp4")])
def test_a_bad_flag_is_refused_before_anything_is_read(tmp_path, flag, value):
    done = run("slimfill-calibrate", "--out", tmp_path / "plan.json", flag, value)
    assert done.returncode != 0 and flag in done.stderr
    assert not (tmp_path / "plan.json").exists()


def test_observations_of_something_else_are_refused(tmp_path):
    (tmp_path / "observations.jsonl").write_text('{"model_sha256": "another"}\n')
    done = calibrate(tmp_path)
    assert done.returncode != 0
    assert "line 1 is of another model" in done.stderr
    assert not (tmp_path / "plan.json").exists()


def test_the_plan_is_evaluated_beside_dense_and_an_evaluation_goes_on_where_it_ended(calibrated):
    folder, _ = calibrated
    out = folder / "eval.jsonl"
    arguments = ["--out", out, "--arms", f"dense,plan:{folder / 'plan.json'}", "--lengths", 1024, "--kinds",
                 "needle,code", "--max-tokens", 4]
    done = run("slimfill-eval", *arguments, "--cases", 1)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["arm"][:5] for line in lines] == ["dense", "plan:"] * 2
    assert all(line["flops_ratio"] > 1 for line in lines if line["arm"] != "dense")
    assert all(line["nll"] > 0 for line in lines)
    done = run("slimfill-eval", *arguments, "--cases", 2)
    assert done.returncode == 0, done.stderr
    more = [json.loads(line) for line in out.read_text().splitlines()]
    assert more[:4] == lines and len(more) == 8
    assert "| dense |" in done.stdout


def test_an_evaluation_of_another_model_is_not_continued(tmp_path):
    out = tmp_path / "eval.jsonl"
    out.write_text("not a result\n")
    done = run("slimfill-eval", "--out", out, "--cases", 1)
    assert done.returncode != 0 and "eval.jsonl" in done.stderr
    assert out.read_text() == "not a result\n"
    done = run("slimfill-eval", "--out", tmp_path / "new.jsonl", "--arms", "dense,fastest")
    assert done.returncode != 0 and "fastest" in done.stderr and "uniprefill" in done.stderr
