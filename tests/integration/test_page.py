"""The page of a report in a browser: complete by itself, legible at any width, its numbers those of the report."""

import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from properties.command.main import main
from properties.reports.compare import comparison_page
from properties.reports.json import report_json
from properties.reports.page import page_of
from properties.runs.verify import verify
from properties.trials.implementation import import_module

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium")
WIDTHS = (360, 1400)
HOSTILE = "<script>document.title = 'ran'</script><img src=x onerror=\"document.title = 'ran'\">'\"&"


@cache
def told(name: str) -> dict[str, Any]:
    """The report on a layer of this project, as JSON."""
    module, _, layer = name.partition(":")
    report = verify(
        getattr(import_module(module), layer),
        cases=8,
        seed=7,
        only=["values_exact", "values_bounded", "homogeneous", "C8"],
        strength=0,
        scope_sample=200,
        dtypes=["float64", "float32"],
        jobs=1,
    )
    data: dict[str, Any] = report_json(report)
    return data


def right() -> dict[str, Any]:
    return told("patchify:Patchify")


def wrong() -> dict[str, Any]:
    return told("tests.mutants.windows:WindowsAnchoredAtTheEnd")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # As root, which CI may be, chromium starts in no sandbox.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser: Browser, text: str, path: Path, width: int, scheme: Any = "light") -> tuple[Page, list[str]]:
    """A page, and what the console says or is asked for while it opens."""
    path.write_text(text, encoding="utf-8")
    page, said = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    said.remove(path.as_uri())
    return page, said


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_opens_without_a_request_or_an_error(browser: Browser, tmp_path: Path, width: int, scheme: str) -> None:
    texts = page_of(right()), page_of(wrong()), comparison_page(right(), wrong())
    for text in texts:
        page, said = opened(browser, text, tmp_path / "page.html", width, scheme)
        assert said == []
        # With everything open that can be.
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.close()


@in_browser
def test_failures_open_and_close(browser: Browser, tmp_path: Path) -> None:
    page, _ = opened(browser, page_of(wrong()), tmp_path / "page.html", 1400)
    failures = page.locator("details.failure")
    assert failures.count() == len(wrong()["failures"]) > 1
    second = failures.nth(1)
    cause = second.locator("dd").get_by_text(wrong()["failures"][1]["cause"])
    assert not cause.is_visible()
    second.locator("summary").first.click()
    assert cause.is_visible()
    second.locator("summary").first.click()
    assert not cause.is_visible()


@in_browser
@pytest.mark.parametrize("report", [right, wrong])
def test_numbers_are_those_of_the_report(browser: Browser, tmp_path: Path, report: Any) -> None:
    data = report()
    page, _ = opened(browser, page_of(data), tmp_path / "page.html", 1400)
    for name in ("implementation", "checks", "cases", "run_seed"):
        assert page.locator(f"[data-is={name}]").first.inner_text() == str(data[name])
    assert page.locator("#verdict p").first.inner_text() == data["verdict"]
    assert page.locator("#command").inner_text() == data["command"]
    for law in data["properties"]:
        cells = page.locator(f"tr[data-law={law['name']}] td").all_inner_texts()
        assert cells[2:4] == [str(law["passed"] + law["failed"]), str(sum(law["inapplicable"].values()))]
        assert cells[1].split(" (")[0] == law["outcome"]
    assert page.locator("[data-is='failed law']").all_inner_texts() == [one["property"] for one in data["failures"]]
    for number, failure in enumerate(data["failures"], start=1):
        assert json.loads(page.locator(f"#record{number}").text_content() or "") == failure["as_record"]
        assert page.locator(f"#script{number}").text_content() == failure["script"]
    for scope, text in zip(data["small_scope"], page.locator("#scope h3 + p").all_inner_texts(), strict=True):
        assert text.startswith(f"{scope['verdicts'].count('+'):,} held")
    # Nothing is a picture alone.
    assert page.locator("svg[role=img]:not([aria-label])").count() == 0


@in_browser
def test_hostile_text_is_text(browser: Browser, tmp_path: Path) -> None:
    def made_hostile(data: Any) -> Any:
        if isinstance(data, dict):
            return {name: made_hostile(value) for name, value in data.items()}
        if isinstance(data, list):
            return [made_hostile(value) for value in data]
        return f"{data}{HOSTILE}" if isinstance(data, str) else data

    kept = ("outcome", "compared", "small_scope", "coverage")

    def hostile(data: Any) -> Any:
        if isinstance(data, dict):
            return {name: value if name in kept else hostile(value) for name, value in data.items()}
        return [hostile(value) for value in data] if isinstance(data, list) else made_hostile(data)

    page, said = opened(browser, page_of(hostile(wrong())), tmp_path / "page.html", 360)
    assert said == []
    assert HOSTILE in page.locator("#verdict p").first.inner_text()
    assert page.title().startswith("FAILED: ")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1


def test_command_gives_the_same_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a run, from its report, and from its folder."""
    cheap = ("--cases", "8", "--seed", "7", "--only", "homogeneous", "--strength", "0", "--jobs", "1")
    files = ("--json", str(tmp_path / "report.json"), "--html", str(tmp_path / "run.html"))
    assert main(["run", *cheap, *files, "--run-dir", str(tmp_path / "run")]) == 0
    assert main(["page", str(tmp_path / "report.json")]) == 0
    assert main(["page", str(tmp_path / "run"), "--html", str(tmp_path / "folder.html")]) == 0
    texts = [(tmp_path / f"{name}.html").read_text() for name in ("run", "report", "folder")]
    assert texts[0] == texts[1] == texts[2]
    assert capsys.readouterr().out.splitlines()[-1] == f"the page is {tmp_path / 'folder.html'}"


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"format": 1}', "[" * 100_000])
def test_what_is_no_report_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    source = tmp_path / "report.json"
    source.write_text(text)
    assert main(["page", str(source)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not source.with_suffix(".html").exists()


def test_small_scope_of_another_size_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of many shapes would not fit into memory."""
    source = tmp_path / "report.json"
    scope = {"data_dim": 3, "patch_size": 100, "stride": 100, "size": 100, "verdicts": "+"}
    source.write_text(json.dumps(right() | {"small_scope": [scope]}))
    assert main(["page", str(source)]) == 2
    assert "its small scope has another number of shapes" in capsys.readouterr().err
