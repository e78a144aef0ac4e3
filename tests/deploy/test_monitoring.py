"""Every query of the dashboard and of the Prometheus rules asks for metrics and labels that the programs export.

The catalogue in base/metric_names.h is checked always. With SLIMFILL_METRICS_URL, a comma-separated list of scrape
addresses or of files that hold a scrape, so is what the running programs really export.
"""

import json
import os
import re
import urllib.request
from pathlib import Path

import pytest
import yaml

from support import DEPLOY, metric_catalogue, run, tool

RULES = DEPLOY / "prometheus/rules.yaml"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
RULE_LIST = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
RECORDED = {rule["record"] for rule in RULE_LIST if "record" in rule}
TARGET_LABELS = {"job", "instance"}  # Prometheus adds them to everything that it scrapes

# Metrics of things that a healthy, lightly used pair of programs may never have met: no series until they happen.
ON_EVENT = {
    "slimfill_admission_rejections_total", "slimfill_cancellations_total", "slimfill_cost_model_mape_ratio",
    "slimfill_inter_token_seconds", "slimfill_kv_corrupt_blocks_total", "slimfill_kv_evictions_total",
    "slimfill_kv_fetch_hits_total", "slimfill_kv_fetch_misses_total", "slimfill_kv_prefix_hit_blocks_total",
    "slimfill_kv_l2_bytes_total", "slimfill_kv_l2_errors_total", "slimfill_kv_l2_hit_blocks_total",
    "slimfill_kv_l2_miss_blocks_total", "slimfill_kv_l2_nodes", "slimfill_kv_l2_queue_blocks",
    "slimfill_kv_l2_seconds", "slimfill_kv_l2_skipped_total", "slimfill_kv_l2_writes_total",
    "slimfill_kv_puts_refused_total", "slimfill_kv_puts_total", "slimfill_kv_stall_seconds",
    "slimfill_kv_store_errors_total", "slimfill_kv_swap_total", "slimfill_kept_token_ratio",
    "slimfill_pruning_fallback_total", "slimfill_ttft_speedup_high_ratio", "slimfill_ttft_speedup_low_ratio",
    "slimfill_ttft_speedup_ratio",
}  # fmt: skip


def dashboard_panels() -> list[dict]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def dashboard_queries() -> list[tuple[str, str]]:
    return [(panel["title"], target["expr"]) for panel in dashboard_panels() for target in panel["targets"]]


def rule_queries() -> list[tuple[str, str]]:
    return [(rule.get("record") or rule["alert"], rule["expr"]) for rule in RULE_LIST]


QUERIES = dashboard_queries() + rule_queries()


def series_in(query: str) -> set[str]:
    """Names of the program's series in a query; recorded ones have a colon after the prefix and are left out."""
    without_strings = re.sub(r'"[^"]*"', '""', query)
    return {name for name in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", without_strings) if name.startswith("slimfill_")}


def metric_of(series: str) -> str | None:
    """The metric of the catalogue that exports a series, or None."""
    catalogue = metric_catalogue()
    stem = re.sub(r"_(bucket|sum|count)$", "", series)
    if catalogue.get(stem, ("",))[0] == "histogram":
        return stem if stem != series else None  # a histogram's bare name is no series
    return series if series in catalogue else None


def labels_in(query: str) -> set[str]:
    matched = {label for block in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)\s*[=!]~?", block)}
    grouped = {label.strip() for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query) for label in group.split(",")}
    return matched | grouped


@pytest.mark.parametrize("where, query", QUERIES)
def test_queries_name_metrics_of_the_catalogue(where, query):
    names = series_in(query)
    assert names or RECORDED & set(re.findall(r"slimfill:[\w:]+", query)) or query.startswith("up{")
    for name in names:
        assert metric_of(name), f"{where}: no metric exports {name}"
    for recorded in re.findall(r"slimfill:[\w:]+", query):
        assert recorded in RECORDED, f"{where}: no rule records {recorded}"


@pytest.mark.parametrize("where, query", QUERIES)
def test_queries_use_labels_that_the_metrics_have(where, query):
    allowed = set(TARGET_LABELS)
    for name in series_in(query):
        allowed |= metric_catalogue()[metric_of(name)][1] | ({"le"} if name.endswith("_bucket") else set())
    assert labels_in(query) <= allowed, f"{where}: {labels_in(query) - allowed}"


@pytest.mark.parametrize("where, query", QUERIES)
def test_counters_are_read_as_rates(where, query):
    bare = re.sub(r"\w+\s*\([^()]*\[[^\]]*\]\)", "", query)
    for name in series_in(bare):
        if name == "slimfill_kv_corrupt_blocks_total":  # its alert also asks whether the series exists
            continue
        assert metric_catalogue()[metric_of(name)][0] == "gauge", f"{where}: {name} only ever grows"


def test_dashboard_shows_every_metric():
    shown = {metric_of(name) for _, query in dashboard_queries() for name in series_in(query)}
    assert shown == set(metric_catalogue())


def test_dashboard_is_consistent():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    text = json.dumps(DASHBOARD)
    used = set(re.findall(r"\$\{?([a-z]\w*)", text))
    assert used <= variables, used - variables
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
    for panel in dashboard_panels():
        assert panel["title"] and panel["fieldConfig"]["defaults"]["unit"]


def test_panels_tell_their_lines_apart():
    """A legend names every label that the query groups by, or the lines could not be told apart."""
    for panel in dashboard_panels():
        if panel["type"] == "table":
            continue
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(set(legends)) == len(legends), panel["title"]
        for target in panel["targets"]:
            grouped = {label.strip() for group in re.findall(r"\bby\s*\(([^)]*)\)", target["expr"])
                       for label in group.split(",")} - {"le"}
            assert grouped <= set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])), panel["title"]


def test_promtool_accepts_config_and_rules():
    run(tool("promtool"), "check", "config", str(DEPLOY / "prometheus/prometheus.yaml"))
    run(tool("promtool"), "check", "rules", "--lint=all", "--lint-fatal", str(RULES))


def test_promtool_accepts_dashboard_queries(tmp_path):
    """promtool parses rules, so each query is wrapped in one."""
    rules = [{"record": f"panel:query:{i}", "expr": re.sub(r"\$__rate_interval", "5m", query).replace("$", "")}
             for i, (_, query) in enumerate(dashboard_queries())]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(tool("promtool"), "check", "rules", str(tmp_path / "rules.yaml"))


def test_alerts_fire_when_they_should():
    run(tool("promtool"), "test", "rules", str(Path(__file__).parent / "rules_test.yaml"))


def test_every_alert_is_explained():
    text = (DEPLOY.parent / "docs/operations.md").read_text()
    for rule in RULE_LIST:
        if "alert" in rule:
            assert f"`{rule['alert']}`" in text, f"docs/operations.md does not explain {rule['alert']}"
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def scrape(source: str) -> str:
    if "://" not in source:
        return Path(source).read_text()
    with urllib.request.urlopen(source, timeout=10) as response:
        return response.read().decode()


def test_running_programs_export_what_is_queried():
    sources = [source for source in os.environ.get("SLIMFILL_METRICS_URL", "").split(",") if source]
    if not sources:
        pytest.skip("SLIMFILL_METRICS_URL names no scrape; the catalogue was checked")
    text = "\n".join(scrape(source) for source in sources)
    exported = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}
    unknown = {name for name in exported if name.startswith("slimfill_")} - \
        {name for name in exported if metric_of(name)}
    assert not unknown, f"not in base/metric_names.h: {unknown}"
    queried = {name for _, query in QUERIES for name in series_in(query)}
    missing = {name for name in queried - exported if metric_of(name) not in ON_EVENT}
    assert not missing, f"no running program exports {sorted(missing)}"


def test_on_event_metrics_are_of_the_catalogue():
    assert ON_EVENT <= set(metric_catalogue())
