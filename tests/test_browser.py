"""The helper sees what it is there to see: a page with every fault, and one with none."""

import pytest

from tests import browser
from tests.browser import opened

FAULTY = """<!doctype html><link rel="icon" href="data:,"><div style="width: 2000px">wide</div>
<img src="http://127.0.0.1:9/x.png" alt=""><table class="sortable"><thead><tr><th><button>n</button></th></tr></thead>
<tbody><tr><td data-value="2">2</td></tr><tr><td data-value="1">1</td></tr></tbody></table>
<script>there_is_no_such_function()</script>"""


@pytest.mark.slow
def test_faults_are_found(tmp_path):
    (tmp_path / "page.html").write_text(FAULTY)
    with opened(tmp_path / "page.html", width=390, phone=True) as page:
        assert page.requests() == ["http://127.0.0.1:9/x.png"]
        assert any("there_is_no_such_function" in message for message in page.console())
        assert page.overflows()
        assert len(page.not_drawn()) == 1
        assert page.unsorted(), "a press does nothing here"
        assert page.pdf().startswith(b"%PDF")


@pytest.mark.slow
def test_a_page_without_faults(tmp_path):
    (tmp_path / "page.html").write_text('<!doctype html><link rel="icon" href="data:,"><p>nothing</p>')
    with opened(tmp_path / "page.html", width=390, phone=True) as page:
        assert (page.requests(), page.console(), page.overflows(), page.not_drawn(), page.unsorted()) == (
            [],
            [],
            False,
            [],
            [],
        )


def test_in_ci_no_browser_test_is_left_out(monkeypatch):
    monkeypatch.setattr(browser, "CHROMIUM", None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="in CI"):
        browser.needed()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception):
        browser.needed()
