import pytest

from neuroalign.addresses import redacted, secrets_of, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://natural-scenes-dataset/nsddata", "s3://natural-scenes-dataset/nsddata"),
        ("data/me@work/nsd", "data/me@work/nsd"),
        ("https://host/a@b", "https://host/a@b"),
        ("https://me:PW@host/nsd", "https://***@host/nsd"),
        ("https://TOKEN@host/nsd", "https://***@host/nsd"),
        ("https://me:P@W@host/nsd", "https://***@host/nsd"),
        ("https://host/nsd?sig=PW&se=2", "https://host/nsd?sig=***&se=***"),
        ("ClientError(400, url='https://me:PW@host/x?X-Amz-Signature=PW', y=1)",
         "ClientError(400, url='https://***@host/x?X-Amz-Signature=***', y=1)"),
        ("two: ftp://a:PW@h/x and sftp://b:PW@h/y", "two: ftp://***@h/x and sftp://***@h/y"),
        ("why? x=3", "why? x=3"),
    ],
)  # fmt: skip
def test_urls_are_redacted(text, shown):
    assert redacted(text) == shown


def test_known_secrets_are_hidden_anywhere():
    secrets = secrets_of(
        "https://me:p%40w@host/nsd?token=abcd", {"client_kwargs": {"auth_token": "efgh"}, "anon": True}
    )
    for secret in ("p%40w", "p@w", "abcd", "efgh"):
        assert secret not in redacted(f"it said {secret}!", secrets)
    assert redacted("host anon me", secrets) == "host anon me"


def test_settings():
    settings = {"a": ["https://me:PW@h/x", {"password": "PW", "key": None, "n": 3}], "AUTH": ("x",), "secret": "PW"}
    assert without_secrets(settings) == {
        "a": ["https://***@h/x", {"password": "***", "key": None, "n": 3}], "AUTH": ("x",), "secret": "***"}  # fmt: skip
