"""A real headless Chromium: pages are opened as their readers open them, on a screen, on a phone, and printed.

    with opened(path, width=390) as page: ...

Where there is no Chromium a test is skipped; in CI (CI=true), which installs one, it fails.
"""

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def needed() -> None:
    """Skip the test that calls it if there is no browser; fail it in CI."""
    if CHROMIUM and DRIVER:
        return
    missing = "needs chromium and chromedriver (chromium and chromium-driver of the distribution)"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{missing}, and in CI no browser test is left out")
    pytest.skip(missing)


class Page:
    """A page that is open in a browser; only what belongs to the page itself is counted."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def run(self, script: str) -> Any:
        """What JavaScript returns; `return` has to be written."""
        return self.driver.execute_script(script)

    def console(self) -> list[str]:
        """Messages of the console since the last call: errors and warnings, also of what was refused."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that the page asked for since the last call, the page itself and what it carries in itself left out."""
        sent = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [m["params"] for m in sent if m["method"] == "Network.requestWillBeSent"]
        own = self.driver.current_url.split("#")[0]
        urls = [
            p["request"]["url"] for p in asked if p["documentURL"].split("#")[0] == own
        ]  # not the browser's own start page
        return [url for url in urls if url.split("#")[0] != own and not url.startswith("data:")]

    def overflows(self) -> bool:
        """Whether the page as a whole is wider than its window."""
        return bool(self.run("return document.documentElement.scrollWidth > document.documentElement.clientWidth"))

    def not_drawn(self, selector: str = "svg, img") -> list[str]:
        """Pictures without an area on the screen; an image also if nothing of it could be decoded. What is folded is opened first."""
        return self.run(
            """
            for (const part of document.querySelectorAll("details")) part.open = true;
            return [...document.querySelectorAll(arguments[0])].filter(picture => {
              const box = picture.getBoundingClientRect();
              const decoded = picture.tagName !== "IMG" || (picture.complete && picture.naturalWidth > 0);
              return !(box.width > 0 && box.height > 0 && decoded);
            }).map(picture => picture.outerHTML.slice(0, 200));
            """.replace("arguments[0]", repr(selector))
        )

    def unsorted(self) -> list[str]:
        """Columns of sortable tables whose rows are not in order after a press of their heading, and after a second one."""
        return self.run(SORTED)

    def pdf(self) -> bytes:
        """The page as it is printed."""
        printed = self.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
        return base64.b64decode(printed["data"])


SORTED = """
const wrong = [];
for (const part of document.querySelectorAll("details")) part.open = true;
for (const [t, table] of [...document.querySelectorAll("table.sortable")].entries()) {
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    for (const way of ["ascending", "descending"]) {
      head.querySelector("button").focus();
      document.activeElement.click();
      const key = cell => cell.dataset.value ?? cell.textContent.trim();
      const cells = [...table.tBodies[0].rows].map(row => row.cells[i]).filter(cell => key(cell) !== "");
      const rising = cells.every((cell, k) => {
        if (k === 0) return true;
        const sign = way === "ascending" ? 1 : -1, before = cells[k - 1];
        const numbers = cell.dataset.value !== undefined && before.dataset.value !== undefined;
        const step = numbers ? Number(key(cell)) - Number(key(before)) : key(cell).localeCompare(key(before));
        return sign * step >= 0;
      });
      if (!rising || head.getAttribute("aria-sort") !== way) wrong.push(`table ${t}, column ${i}, ${way}`);
    }
  });
}
return wrong;
"""


@contextmanager
def opened(path: Path, *, width: int = 1300, height: int = 900, phone: bool = False) -> Iterator[Page]:
    """The file in a browser of its own, with a profile of its own."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    needed()
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        *FLAGS,
        f"--window-size={max(width, 500)},{height}",
        f"--user-data-dir={path.parent / f'.browser-{path.name}'}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", screen
        )  # a window is never narrower than 500 pixels
        driver.get(path.resolve().as_uri())
        yield Page(driver)
    finally:
        driver.quit()
        shutil.rmtree(path.parent / f".browser-{path.name}", ignore_errors=True)
