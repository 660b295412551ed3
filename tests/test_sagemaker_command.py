"""``python -m serve.sagemaker`` as a command: what is refused at once, and how it ends. No AWS."""

import logging

import pytest

from runtime.errors import StorageError
from serve.sagemaker import __main__ as command
from serve.sagemaker.aws import Aws

INVOKE = ["invoke", "--endpoint", "depth"]


@pytest.fixture(autouse=True)
def no_call(monkeypatch):
    monkeypatch.setattr(Aws, "client", lambda *_: pytest.fail("it asked for a client"))


def impossible(root):
    (root / "file").write_text("kept")
    (root / "folder").mkdir()
    return {
        "folder": "is a folder; name a file",
        "file/model.tar.gz": "is not a folder; name one",
        "x" * 300: "File name too long",
        "/proc/model.tar.gz": "cannot be written to",
    }


@pytest.mark.parametrize("number", range(4))
def test_package_refuses_a_place_before_it_reads_an_artifact(
    number, tiny_artifact, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(command, "pack", lambda *_: pytest.fail("it began to pack"))
    place, text = list(impossible(tmp_path).items())[number]
    words = ["package", "--artifact", str(tiny_artifact.path), "--output", str(tmp_path / place)]
    assert command.main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and text in said and said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("number", range(4))
def test_invoke_refuses_a_place_for_the_answer_before_it_calls(
    number, tmp_path, capsys, monkeypatch
):
    (tmp_path / "a.jpg").write_bytes(b"photo")
    place, text = list(impossible(tmp_path).items())[number]
    words = [*INVOKE, "--photo", str(tmp_path / "a.jpg"), "--output", str(tmp_path / place)]
    assert command.main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and text in said


@pytest.mark.parametrize(
    "more, text",
    [
        (["--photo", "a.jpg"], "--photo needs --output"),
        (["--input", "s3://b/a.jpg", "--output", "a.npz"], "is written to S3; leave it out"),
    ],
)
def test_options_that_do_not_go_together_show_the_commands_own_usage(more, text, capsys):
    assert command.main([*INVOKE, *more]) == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: python -m serve.sagemaker invoke") and text in said


@pytest.mark.parametrize(
    "error, status, text",
    [
        (KeyboardInterrupt(), 130, "stopped\n"),
        (StorageError("no bucket"), 1, "error: no bucket\n"),
        (PermissionError(13, "Permission denied", "a.tar.gz"), 1, "error: a.tar.gz: Permission"),
    ],
    ids=["ctrl-c", "ours", "disk"],
)
def test_an_error_is_one_sentence_and_a_status(error, status, text, monkeypatch, capsys):
    def fails(_):
        raise error

    monkeypatch.setitem(command.COMMANDS, "package", fails)
    assert command.main(["package", "--artifact", "a"]) == status
    said = capsys.readouterr().err
    assert text in said and "Traceback" not in said


def test_the_loggers_of_boto_are_quiet(tmp_path):
    logging.getLogger("botocore").setLevel(logging.DEBUG)
    assert command.main(["package", "--artifact", str(tmp_path)]) == 1  # none there
    for name in ("botocore", "boto3", "s3transfer", "urllib3"):
        assert logging.getLogger(name).level == logging.WARNING
