"""-q, -v and --debug: what of the library's log and of warnings is said."""

import logging
import os
import subprocess
import sys
import warnings

import pytest

from neuroalign.__main__ import main
from neuroalign.commands.verbosity import Verbosity, taken_from, told
from neuroalign.progress import wanted

log = logging.getLogger("neuroalign.data.nsd.extraction")


def said(capsys, **options):
    """What goes to stderr, without pytest's handlers, which would take it."""
    with pytest.MonkeyPatch.context() as patch, told(Verbosity(**options)):
        patch.setattr(logging.getLogger(), "handlers", [])
        log.info("wrote it")
        log.warning("making it again")
    return capsys.readouterr().err


def test_the_log_is_said_if_verbose(capsys):
    assert said(capsys) == "making it again\n"
    assert said(capsys, quiet=True) == "making it again\n"
    for option in ("verbose", "debug"):
        first, second = said(capsys, **{option: True}).splitlines()
        assert first.endswith("neuroalign.data.nsd.extraction: wrote it") and second.endswith(": making it again")


def test_afterwards_all_is_as_before(capsys):
    logger = logging.getLogger("neuroalign")
    before = logger.level, list(logger.handlers), warnings.formatwarning, wanted()
    for option in ("verbose", "quiet"):
        said(capsys, **{option: True})
        assert (logger.level, logger.handlers, warnings.formatwarning, wanted()) == before


@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_ends_information_of_other_packages_and_progress(quiet):
    log = logging.getLogger("another package")
    log.setLevel(logging.INFO)
    with told(Verbosity(quiet=quiet)):
        assert log.isEnabledFor(logging.INFO) != quiet and wanted() != quiet


@pytest.mark.filterwarnings("always")
def test_a_warning_is_one_line_also_if_quiet(capsys):
    with pytest.warns(UserWarning, match="two"), told(Verbosity()):
        warnings.warn("two\nlines", stacklevel=1)  # those who catch warnings still do
    for verbosity, place in ((Verbosity(), False), (Verbosity(quiet=True), False), (Verbosity(verbose=True), True)):
        with told(verbosity):
            text = warnings.formatwarning("two\nlines", UserWarning, "a.py", 3)
        assert ("a.py:3" in text) == place and (place or text == "warning: two lines\n")


@pytest.mark.parametrize("option", ["-q", "--quiet", "-v", "--verbose", "--debug"])
def test_a_parser_that_is_not_ours_never_sees_them(option):
    found, rest = taken_from(["fit", option, "--config", "a.yaml"])
    assert rest == ["fit", "--config", "a.yaml"]
    assert next(name for name in ("quiet", "verbose", "debug") if getattr(found, name))[0] == option.strip("-")[0]


@pytest.mark.parametrize("quiet", [False, True])
def test_training_is_told_to_be_quiet(quiet, monkeypatch):
    seen = []
    monkeypatch.setattr("neuroalign.commands.lightning_cli.run_lightning", lambda argv, **options: seen.append(options))
    main(["fit", "--config", "a.yaml", *(["-q"] if quiet else [])])
    assert seen == [{"quiet": quiet}]


@pytest.mark.parametrize(("encoding", "printed"), [("ascii", b"?? r?"), ("utf-8", "━• r\\udcff".encode())])
def test_a_character_that_the_output_lacks_ends_no_command(encoding, printed):
    code = r"from neuroalign.__main__ import main; main(['cite', '-q', 'pgd']); print('\u2501\u2022 r\udcff')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, timeout=120)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == printed, done
