"""A run folder from somebody else is data: what its configuration may name, and that everything of ours may be named."""

import pytest
import yaml

from icu_lightning.errors import UserError
from icu_lightning.examine import examine
from icu_lightning.explain import explain_again
from icu_lightning.trust import check_trusted
from tests.conftest import CONF, composed
from tests.report.conftest import make_run  # noqa: F401  a fixture

OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for group in ("model", "data", "trainer", "logger", "calibration")
    for path in (CONF / group).glob("*.yaml")
)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_configuration_of_ours_may_be_stored(option):
    check_trusted(composed(option).plain, "It")


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "torch.nn.modules.module.warnings.warn",
        "icu_lightning.run.os.system",
        "torch.load",
        "builtins.eval",
    ],
)
@pytest.mark.parametrize("place", ["_target_", "source"])
def test_other_code_is_refused_wherever_it_is_named(name, place):
    with pytest.raises(UserError, match="no class of this package"):
        check_trusted({"a": [{"b": {place: name}}]}, "It")


def test_a_loss_of_torch_and_an_optimiser_may_be_named():
    check_trusted(
        {"loss": {"_target_": "torch.nn.BCEWithLogitsLoss"}, "optimizer": {"_target_": "torch.optim.AdamW"}}, "It"
    )


@pytest.fixture
def hostile(make_run, tmp_path):  # noqa: F811
    """A run folder whose configuration would make a file, `written`, if what it names were called."""
    folder = make_run()
    config = yaml.safe_load((folder / "config.yaml").read_text()) | {"calibration": {"_target_": "torch.optim.Adam"}}
    config["data"] = {**config["data"], "source": "pathlib.Path.touch", "self": str(tmp_path / "written")}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


SETTINGS = {"drugs": "together", "stays": 1, "evaluations": 500, "background": 1, "risk": "raw", "single": 0, "seed": 0}


@pytest.mark.parametrize("command", ["explain", "examine"])
def test_a_run_folder_that_names_other_code_is_refused_before_it_is_called(hostile, tmp_path, command):
    with pytest.raises(UserError, match=r"names pathlib\.Path\.touch, which is no class of this package"):
        explain_again({"run": str(hostile), **SETTINGS}) if command == "explain" else examine(
            {"run": str(hostile), "report": {}}
        )
    assert not (tmp_path / "written").exists()


def test_nor_is_it_resumed(hostile, tmp_path, cli):
    done = cli(f"resume={hostile}")
    assert done.returncode == 1
    assert "names pathlib.Path.touch, which is no class of this package" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "written").exists()
