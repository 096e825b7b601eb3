"""The report's front: layers with their errors, letters and colours, what to take, and what to read first."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators.latency.fingerprint import Fingerprint
from nas.finalists.outcome import FORMAT
from nas.latency.published import measure_published
from nas.report.axis import Axis, ticks, widest_gap
from nas.report.build import write_report
from nas.report.callouts import Callout, place
from nas.report.cautions import cautions
from nas.report.charts import Chart, Marks
from nas.report.labels import Labels, letters, palette
from nas.report.layers import layers_of
from nas.report.records import read_records
from nas.report.run_charts import retraining_chart
from nas.run.folder import RunFolder
from tests.report_fixture import SPACE, record

MACHINE = Fingerprint(
    cpu="abacus", flags=(), cores=1, system="Linux", runtime="torch", runtime_version="2", precision="fp32", threads=1
)
Record = dict[str, Any]


def evaluated(number: int, ap: float, latency_ms: float, error: float | None = None, people: int = 500) -> Record:
    metrics = {"AP": ap, "mean_oks": ap} | ({} if error is None else {"AP_se": error})
    return record(number, ap, latency_ms, metrics=metrics, persons=people)


FRONT = [evaluated(0, 0.10, 1.0, 0.01), evaluated(1, 0.15, 2.0, 0.02), evaluated(2, 0.20, 3.0, 0.03)]


def searched(path: Path, front: list[Record], **fields: Any) -> RunFolder:
    """A run's folder with a search that found these networks."""
    path.mkdir(exist_ok=True)
    run = RunFolder(path)
    run.write_space(SPACE)
    run.journal.write_text("".join(json.dumps(one) + "\n" for one in front))
    content = {
        "objectives": {"ap": "max", "latency_ms": "min"},
        "reference": {"ap": 0.0, "latency_ms": 12.0},
        "fingerprint": {"candidate": {"latency": "table"}, "latency": {**MACHINE.to_json(), "batch": 1}},
    }
    run.front.write_text(json.dumps({**content, "front": front, **fields}))
    return run


def trained(run: RunFolder, stage: str, one: Record, ap: float, **best: Any) -> None:
    """The folder of a training that came to this AP."""
    folder = run.path / stage / one["id"]
    folder.mkdir(parents=True)
    (folder / "architecture.json").write_text(json.dumps(one["architecture"]))
    entry = {"epoch": 1, "AP": ap, **best}
    settings = {"validation": {"flip_test": True}}
    content = {"best": entry, "validations": [entry], "persons": 400, "can_mirror": True, "config": settings}
    (folder / "results.json").write_text(json.dumps(content))


def with_finalists(run: RunFolder, found: dict[str, tuple[Record, float]], take: dict[str, float]) -> None:
    """Finalists by name, each with its AP; ``take`` says for how many milliseconds one is recommended."""
    entries = []
    for one, ap in found.values():
        trained(run, "finalists", one, ap)
        entries.append(
            {
                "id": one["id"], "architecture": one["architecture"], "near": None, "status": "trained",
                "inherited": {**one["objectives"], **one["metrics"]}, "reason": None, "stopped_by": None,
                "latency_ms": one["objectives"]["latency_ms"] * 1.1, "spread_ms": 0.05, "ap": ap, "ap_se": 0.012,
                "mean_oks": ap, "mean_oks_se": 0.01, "rungs": [{"step": 9, "ap": ap}], "on_front": True,
            }
        )  # fmt: skip
    recommended = [
        {"budget_ms": budget, "id": found[name][0]["id"], "ap": found[name][1], "ap_se": 0.012,
         "latency_ms": found[name][0]["objectives"]["latency_ms"] * 1.1,
         "why": f"{found['quick'][0]['id']} saves 1 ms"}
        for name, budget in take.items()
    ]  # fmt: skip
    content = {
        "format": FORMAT, "fingerprint": MACHINE.to_json(), "batch": 1, "people": 450, "noise": 2.0, "resamples": 400,
        "finalists": entries, "front": [one["id"] for one in entries], "recommended": recommended,
    }  # fmt: skip
    run.finalists_file.write_text(json.dumps(content))


def front_of(run: RunFolder) -> str:
    """The section of the front, its texts unescaped."""
    page = html.unescape(write_report(run).read_text(encoding="utf-8"))
    return page[page.index("<h2>Pareto front") : page.index("</section>", page.index("<h2>Pareto front"))]


# The three layers -----------------------------------------------------------------------------------------------------


def test_each_layer_has_its_points_errors_and_protocol(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    with_finalists(run, {"quick": (FRONT[0], 0.3), "slow": (FRONT[2], 0.4)}, {"slow": 4.0})
    trained(run, "retrain", FRONT[2], 0.5, AP_se=0.021)
    inherited, finalists, retrained = layers_of(read_records(run))
    assert [(one.value, one.error) for one in inherited.points] == [(0.1, 0.01), (0.15, 0.02), (0.2, 0.03)]
    assert [(one.value, one.error) for one in finalists.points] == [(0.3, 0.012), (0.4, 0.012)]
    assert [(one.value, one.error) for one in retrained.points] == [(0.5, 0.021)]
    chart = front_of(run)
    for style, count in (("inherited", 3), ("finalist", 2), ("retrained", 1)):
        assert len(re.findall(f'<line class="error {style}"', chart)) == count
    assert "<b>inherited AP</b>: the search's: 500 people, no flip test; bars: ± one standard error" in chart
    assert "<b>AP of finalists</b>: 450 people, flip test; bars" in chart
    assert "<b>retrained AP</b>: 400 people, flip test; bars" in chart
    assert "batch 1, torch 2, fp32, 1 thread, abacus" in chart


def test_without_errors_in_the_files_there_are_no_bars_and_it_is_said(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", [evaluated(0, 0.1, 1.0), evaluated(1, 0.2, 2.0)])
    trained(run, "retrain", FRONT[0], 0.3)
    chart = front_of(run)
    assert '<line class="error' not in chart
    assert chart.count("no bars: its errors are unknown") == 2


def test_an_evaluation_of_the_same_weights_tells_the_error(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    for one, found in ((FRONT[0], 0.4), (FRONT[1], 0.41)):
        trained(run, "retrain", one, 0.4)
        (run.retrain(one["id"]) / "evaluation").mkdir()
        content = {"metrics": {"AP": found, "AP_se": 0.02}}
        (run.retrain(one["id"]) / "evaluation" / "results.json").write_text(json.dumps(content))
    points = layers_of(read_records(run))[2].by_id
    assert points[FRONT[0]["id"]].error == 0.02
    assert points[FRONT[1]["id"]].error is None, "it was evaluated otherwise"


def test_a_line_goes_from_what_a_network_inherited_to_what_it_came_to(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    with_finalists(run, {"quick": (FRONT[0], 0.3), "slow": (FRONT[2], 0.4)}, {})
    trained(run, "retrain", FRONT[2], 0.5)
    links = re.findall(r'<polyline class="link" style="--c:([^"]+)" points="([^"]+)"', front_of(run))
    assert [len(points.split()) for _, points in links] == [2, 3]
    assert len({color for color, _ in links}) == 2
    for _, points in links:
        xs = {point.split(",")[0] for point in points.split()}
        assert len(xs) == 1, "one latency a network: that of the finalists' measurement"


def test_the_networks_to_take_are_marked_with_their_budget(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    take = {"quick": 1.5, "slow": 4.0}
    with_finalists(run, {"quick": (FRONT[0], 0.3), "middle": (FRONT[1], 0.35), "slow": (FRONT[2], 0.4)}, take)
    chart = front_of(run)
    assert "A: take this one at ≤ 1.5 ms" in chart
    assert "C: take this one at ≤ 4 ms" in chart
    assert "B: take" not in chart
    assert chart.count('<circle class="halo"') == 2 + 1, "and one in the legend"
    page = run.report.read_text(encoding="utf-8")
    assert "take C, AP of finalists 0.4000 ± 0.0120 at 3.3 ms" in page
    assert "A saves 1 ms" in page


def test_a_front_of_mean_oks_has_mean_oks_layers(tmp_path: Path) -> None:
    front = [{**one, "objectives": {"mean_oks": 0.3, **one["objectives"]}} for one in FRONT]
    run = searched(tmp_path / "run", front, objectives={"mean_oks": "max", "latency_ms": "min"}, reference=None)
    with_finalists(run, {"quick": (front[0], 0.4)}, {})
    trained(run, "retrain", front[2], 0.5, mean_oks=0.66)
    chart = front_of(run)
    assert "retrained mean OKS" in chart
    assert "mean OKS of finalists 0.400 ± 0.010" in chart


def test_a_front_over_macs_shows_what_networks_came_to(tmp_path: Path) -> None:
    front = [{**one, "objectives": {"ap": 0.1, "macs": 1e6 * (n + 1)}} for n, one in enumerate(FRONT)]
    run = searched(tmp_path / "run", front, objectives={"ap": "max", "macs": "min"}, reference={"ap": 0, "macs": 9e6})
    trained(run, "retrain", front[2], 0.5)
    chart = front_of(run)
    assert "MACs</text>" in chart
    assert len(re.findall('<path class="retrained"', chart)) == 1 + 1


def test_what_has_no_known_latency_is_named(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    other = evaluated(9, 0.0, 0.0)
    trained(run, "retrain", other, 0.5)
    assert f"not in the chart</b>: D {other['id']}: trained, but latency (ms) is not known" in front_of(run)


# Letters and colours -------------------------------------------------------------------------------------------------


def test_letters_are_by_latency_and_stand_beside_the_ids(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", [FRONT[2], FRONT[0], FRONT[1]])
    trained(run, "retrain", FRONT[1], 0.5)
    (run.retrain(FRONT[1]["id"]) / "best.safetensors").write_bytes(b"")
    records = read_records(run)
    assert [records.labels[one["id"]] for one in FRONT] == ["A", "B", "C"]
    page = write_report(run).read_text(encoding="utf-8")
    assert page.count(f"B {FRONT[1]['id']}") >= 3, "in the table, at the training's curve, and with the files"


def test_the_table_has_networks_of_all_the_front_by_their_letters(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", [evaluated(n, 0.1 + 0.01 * n, 1.0 + n) for n in range(10)])
    page = write_report(run).read_text(encoding="utf-8")
    header = page[page.index("<h2>Networks side by side") :]
    assert re.findall(r"<th>([A-Z]) [0-9a-f]{10}</th>", header[: header.index("</tr>")]) == ["A", "D", "G", "J"]


def test_letters_go_on_as_columns_of_a_spreadsheet() -> None:
    assert [letters(index) for index in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]


def test_no_two_networks_have_one_colour() -> None:
    assert len(set(palette(300))) == 300
    labels = Labels([f"{number:010x}" for number in range(40)], ["0000000027"])
    colors = [labels.color(f"{number:010x}") for number in range(40)]
    assert len({*colors, *labels.other_colors(5)}) == 45
    assert colors[39] == palette(1)[0]


def test_curves_of_training_have_a_colour_each(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    for one in FRONT:
        trained(run, "retrain", one, 0.5)
    drawing = retraining_chart(read_records(run)).split('class="legend"')[0]
    assert len(set(re.findall(r'<polyline class="curve" style="--c:([^"]+)"', drawing))) == 3


def test_ids_in_sentences_become_letters() -> None:
    labels = Labels(["0123456789", "abcdefabcd"])
    assert labels.shorten("abcdefabcd costs 1, ffffffffff is unknown") == "B costs 1, ffffffffff is unknown"


# Published networks --------------------------------------------------------------------------------------------------


def test_published_networks_are_in_the_chart_and_the_table(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    measure_published(
        run, SPACE, MACHINE, 1, lambda all_: [{"latency_ms": one.input_size[0] / 10, "spread_ms": 0.1} for one in all_]
    )
    chart = front_of(run)
    assert chart.count('<line class="published"') == 2 + 1, "both at the run's input size; and one in the legend"
    page = run.report.read_text(encoding="utf-8")
    assert "<th>s-vipnas-res50 128×96</th><th>s-vipnas-res50 256×192</th>" in page
    assert "<td>12.80 ms ± 0.10</td><td>25.60 ms ± 0.10</td>" in page


def test_a_run_without_them_says_how_to_get_them(tmp_path: Path) -> None:
    chart = front_of(searched(tmp_path / "run", FRONT))
    assert "<b>published networks</b>: not measured in this run; <code>vipnas search CONFIG --resume</code>" in chart


def test_those_of_another_machine_are_not_drawn_beside_the_front(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    other = Fingerprint(**{**MACHINE.to_json(), "cpu": "slide rule", "flags": ()})
    measure_published(run, SPACE, other, 1, lambda all_: [{"latency_ms": 9.0, "spread_ms": 0.1} for _ in all_])
    chart = front_of(run)
    assert '<line class="published"' not in chart
    assert "measured on something else (batch 1, torch 2, fp32, 1 thread, slide rule)" in chart
    assert "9.00 ms ± 0.10 (on slide rule, torch 2" in run.report.read_text(encoding="utf-8")


# What is to be read first --------------------------------------------------------------------------------------------


def read_first(run: RunFolder) -> str:
    return "\n".join(cautions(read_records(run)))


def test_a_sound_run_has_nothing_to_be_read_first(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    trained(run, "retrain", FRONT[0], 0.5)
    assert read_first(run) == ""
    assert "Read this first" not in write_report(run).read_text(encoding="utf-8")


def test_a_front_within_noise_is_said(tmp_path: Path) -> None:
    near = [evaluated(0, 0.30, 1.0, 0.02), evaluated(1, 0.33, 2.0, 0.02)]
    text = read_first(searched(tmp_path / "near", near))
    assert "within noise: the error bars of its worst and its best network, A (0.300 ± 0.020) and B" in text
    far = [near[0], evaluated(1, 0.35, 2.0, 0.02)]
    assert read_first(searched(tmp_path / "far", far)) == ""
    unknown = [evaluated(0, 0.30, 1.0), evaluated(1, 0.301, 2.0)]
    assert read_first(searched(tmp_path / "unknown", unknown)) == ""


def test_a_front_without_any_ap_is_said(tmp_path: Path) -> None:
    low = [evaluated(0, 0.0001, 1.0), evaluated(1, 0.019, 2.0)]
    assert "Inherited AP is near 0 for the whole front (at most 0.0190)" in read_first(searched(tmp_path / "run", low))
    told = read_first(searched(tmp_path / "told", low, warning="no network inherits an AP above 0.0190"))
    assert told == "The search says: no network inherits an AP above 0.0190.", "once is enough"


def test_training_that_makes_worse_is_said(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT)
    with_finalists(run, {"quick": (FRONT[0], 0.08), "slow": (FRONT[2], 0.4)}, {})
    trained(run, "retrain", FRONT[1], 0.14)
    trained(run, "retrain", FRONT[2], 0.3)
    text = read_first(run)
    assert "AP falls by further training as a finalist: A from 0.100 ± 0.010 to 0.080 ± 0.012." in text
    assert "AP falls by retraining: B from 0.150 ± 0.020 to 0.140." in text
    assert "below what it was as a finalist: C from 0.400 ± 0.012 to 0.300." in text


def test_few_people_are_said(tmp_path: Path) -> None:
    few = searched(tmp_path / "few", [evaluated(0, 0.3, 1.0, people=99)])
    assert "Few validation people (99 in the search): fewer than 100" in read_first(few)
    assert "Read this first" in write_report(few).read_text(encoding="utf-8")
    assert read_first(searched(tmp_path / "enough", [evaluated(0, 0.3, 1.0, people=100)])) == ""


# Axes and texts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.3, 60, [0.5, 1, 2, 5, 10, 20, 50]), (1.9, 12, [2, 5, 10]), (1e-3, 1e3, [0.001, 0.01, 0.1, 1, 10, 100, 1000])],
)
def test_a_wide_logarithmic_axis_has_ticks_at_1_2_5(low: float, high: float, expected: list[float]) -> None:
    assert Axis.over([low, high], (0, 600), log=True).ticks() == pytest.approx(expected)


@pytest.mark.parametrize(("low", "high"), [(1.8, 4.3), (9.2, 13.0), (0.41, 0.49), (2.1, 4.9)])
@pytest.mark.parametrize("log", [False, True])
def test_a_narrow_axis_has_even_round_ticks(low: float, high: float, log: bool) -> None:
    found = Axis.over([low, high], (0, 600), log=log).ticks()
    assert 4 <= len(found) <= 10
    assert np.ptp(np.diff(found)) < 1e-9
    assert all(len(f"{value:.10g}".replace(".", "").strip("0")) <= 3 for value in found)


def test_an_axis_is_broken_where_most_of_it_would_be_empty() -> None:
    values = [1.0, 1.2, 1.5, 2.0, 40.0]
    assert widest_gap(values, 0.5) == (2.0, 40.0)
    assert widest_gap(values, 0.99) is None
    assert widest_gap([1.0, 2.0, 3.0], 0.6) is None
    assert widest_gap([1.0, 40.0], 0.1) is None, "between two values there is always a gap"
    whole, broken = (Axis.over(values, (0, 600), cut=cut) for cut in (None, (2.0, 40.0)))
    assert whole.gap_px is None
    assert whole.pixel(2.0) < 60
    assert broken.gap_px is not None
    assert broken.pixel(2.0) - broken.pixel(1.0) > 350
    places = [broken.pixel(value) for value in values]
    assert places == sorted(places)
    assert all(value < 3 or value > 30 for value in broken.ticks())


@pytest.mark.parametrize("log", [False, True])
def test_values_rise_from_the_bottom_and_stay_on_the_axis(log: bool) -> None:
    axis = Axis.over([0.01, 0.02, 0.4], (452, 16), cut=(0.02, 0.4), log=log)
    assert 452 > axis.pixel(0.01) > axis.pixel(0.02) > axis.pixel(0.4) > 16
    assert axis.pixel(-1) == 452
    assert axis.pixel(9) == 16


def test_a_star_far_above_does_not_press_the_front_flat(tmp_path: Path) -> None:
    low = [evaluated(n, 0.02 + 0.004 * n, 1.0 + n) for n in range(4)]
    run = searched(tmp_path / "run", low)
    trained(run, "retrain", low[3], 0.4)
    chart = front_of(run)
    heights = [float(y) for y in re.findall(r'<circle class="inherited"[^>]* cy="([\d.]+)"', chart)]
    assert max(heights[:4]) - min(heights[:4]) > 100
    assert 'class="break"' in chart


def test_the_errors_of_trained_networks_are_on_one_scale(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", FRONT[:2])
    with_finalists(run, {"quick": (FRONT[0], 0.2), "slow": (FRONT[1], 0.9)}, {})
    bars = re.findall(r'<line class="error finalist"[^>]* y1="([\d.]+)"[^>]* y2="([\d.]+)"', front_of(run))
    lengths = [float(low) - float(high) for low, high in bars]
    assert lengths[0] == pytest.approx(lengths[1], abs=0.2)


def test_ticks_of_ends_that_are_ticks_are_among_them() -> None:
    assert ticks(0.0, 0.6, 6) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_texts_cover_neither_each_other_nor_points() -> None:
    callouts = [(Callout(x=0, y=0, text=f"text {n}"), 100.0 + 4 * n, 100.0) for n in range(6)]
    obstacles = [(x - 5, y - 5, x + 5, y + 5) for _, x, y in callouts]
    placed = place(callouts, obstacles, (0, 0, 400, 300))
    boxes = [*obstacles, *(one.box for one in placed)]
    assert len(placed) == 6
    for one in placed:
        for other in boxes:
            if other is not one.box:
                apart = one.box[0] >= other[2] or one.box[2] <= other[0] or one.box[1] >= other[3]
                assert apart or one.box[3] <= other[1]


def test_a_text_without_room_is_left_out_unless_it_is_needed() -> None:
    full = [(0.0, 0.0, 200.0, 200.0)]
    for needed in (True, False):
        callout = Callout(x=0, y=0, text="a", needed=needed)
        assert len(place([(callout, 100.0, 100.0)], full, (0, 0, 200, 200))) == needed


def test_a_bar_is_drawn_only_where_an_error_is_known() -> None:
    marks = Marks(x=[1, 2], y=[1, 2], errors=[0.5, None], style="finalist", label="one")
    drawing = Chart(x_title="x", y_title="y", series=[marks]).svg()
    assert drawing.count('<line class="error') == 1
