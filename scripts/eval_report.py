#!/usr/bin/env python3
"""What slimfill-eval's results say: report.md, and report.html with plots, in a folder.

Usage: scripts/eval_report.py eval.jsonl [more.jsonl ...] --out FOLDER [--base dense]
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "eval"), str(HERE / "bench")]

import eval_page  # noqa: E402
from eval_data import BadResults, load  # noqa: E402


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, help="files that slimfill-eval wrote")
    parser.add_argument("--out", required=True, type=Path, help="folder to write to")
    parser.add_argument("--base", default="dense", help="the arm that the others are compared with")
    arguments = parser.parse_args(words)
    try:
        evaluations = load(arguments.results)
        for evaluation in evaluations:
            if arguments.base not in evaluation.arms:
                raise BadResults(f"no results of arm {arguments.base} with {evaluation.model}: name another --base")
        arguments.out.mkdir(parents=True, exist_ok=True)
        for name, make in (("report.md", eval_page.markdown_page), ("report.html", eval_page.html)):
            (arguments.out / name).write_text(make(evaluations, arguments.base), encoding="utf-8")
            print(arguments.out / name)
    except (BadResults, OSError) as error:
        print(f"eval_report: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
