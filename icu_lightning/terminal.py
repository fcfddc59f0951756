"""What people see: lines, tables and progress bars, the bars only on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

console = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    console.print(text, markup=False)


def interactive() -> bool:
    """True if a person is watching a terminal, so that bars may move."""
    return console.is_terminal


@contextmanager
def steps(title: str, total: int) -> Iterator[Callable[[str], object]]:
    """A bar over `total` steps; call the yielded function with the name of each as it begins."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not interactive()) as progress:
        task = progress.add_task(title, total=total, completed=-1)

        def begin(name: str) -> None:
            progress.update(task, advance=1, description=f"{title}: {name}")

        yield begin


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], object]]:
    """A bar over `total` things; call the yielded function with how many more are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}/{task.total:,}"))
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not interactive()
    ) as progress:
        task = progress.add_task(title, total=total)

        def advance(more: int) -> None:
            progress.update(task, advance=more)

        yield advance


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
