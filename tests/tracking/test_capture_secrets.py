"""Secrets never reach a capture. Excluded: git and files, which have pages of their own."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratal.tracking.capture.environment import allowed_variables
from stratal.tracking.capture.git import strip_credentials
from stratal.tracking.capture.secrets import MASK, is_secret_file, is_secret_name, mask, mask_argv
from stratal.tracking.capture.sources import captured

# Joined here, so that no scanner takes this file for a leak.
SHAPED = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ASIA" + "Y34FZKBOKMUTVV7A",
    "gh" + "p_16C7e42F292c6912E7710c838347Ae178B4a",
    "gho" + "_16C7e42F292c6912E7710c838347Ae178B4a",
    "github" + "_pat_11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuVwXyZ",
    "glpat" + "-Zx81kqWvJt3nSx5aB_2d",
    "sk" + "-proj-abcdefghijklmnop1234567890",
    "sk" + "_live_4eC39HqLyjWDarjtT1zdp7dc",
    "hf" + "_AbCdEfGhIjKlMnOpQrStUvWxYz",
    "xoxb" + "-123456789012-abcdefGHIJKL",
    "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
    "npm" + "_abcdefghijklmnopqrstuvwxyz0123456789",
    "pypi" + "-AgEIcHlwaS5vcmcCJGQ4ZjE2",
]
PRIVATE_KEY = "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEpAIBAAKCAQEA7bq\nw9x8y7z6\n-----END RSA PRIVATE KEY-----"
SECRET_NAMES = [
    "DB_PASSWORD",
    "api_key",
    "apiKey",
    "HF_TOKEN",
    "clientSecret",
    "AWS_SECRET_ACCESS_KEY",
    "auth-token",
    "SENTRY_DSN",
    "session.cookie",
]
OPEN_NAMES = ["tokenizer", "author", "max_len", "learning_rate", "n_keys", "authentic", "monkey", "path"]

plain = st.text(alphabet=string.ascii_letters + string.digits + "+/._-!#%^&*", min_size=8, max_size=40).filter(
    lambda text: mask(f"password={text}") != f"password={text}" and not text[0].isdigit() and text[0] not in "$+-.!#%^&*/_"
)


@pytest.mark.parametrize("secret", SHAPED)
@pytest.mark.parametrize(
    "around", ["{}", "--flag={}", "x = '{}'", "+    client({})", '{{"a": "{}"}}', "words before {} and after", "https://h/p?q={}"]
)
def test_a_value_of_a_known_shape_is_masked_wherever_it_stands(secret: str, around: str) -> None:
    text = around.format(secret)

    for masked in (mask(text), mask(text, is_code=True), " ".join(mask_argv([text]))):
        assert secret not in masked
        assert MASK in masked


def test_a_private_key_is_masked_over_its_lines_even_if_it_is_cut() -> None:
    whole, cut = mask(f"a\n{PRIVATE_KEY}\nb"), mask(PRIVATE_KEY[:60])

    assert whole == f"a\n{MASK}\nb"
    assert "MIIE" not in cut


@given(
    name=st.sampled_from(SECRET_NAMES),
    value=plain,
    form=st.sampled_from(["{}={}", "{} = '{}'", '"{}": "{}"', "{}: {}", "export {}={}", "--{}={}", '+{} = "{}"']),
)
def test_a_value_named_like_a_secret_is_masked_in_any_notation(name: str, value: str, form: str) -> None:
    assert value not in mask(form.format(name, value))


@given(name=st.sampled_from(SECRET_NAMES), value=plain)
def test_a_secret_of_the_command_line_is_masked_beside_its_name_and_after_it(name: str, value: str) -> None:
    for argv in (
        [f"--{name}", value],
        [f"--{name}={value}"],
        [f"{name}={value}"],
        [f"db.{name}={value}"],
        ["-v", f"--{name}", value, "end"],
    ):
        masked = mask_argv(argv)

        assert value not in " ".join(masked)
        assert len(masked) == len(argv)


@given(name=st.sampled_from(OPEN_NAMES), value=st.from_regex(r"[a-z]{1,8}(_[a-z]{1,8})?", fullmatch=True))
def test_what_is_no_secret_stays_as_it_is(name: str, value: str) -> None:
    for text in (f"{name}={value}", f"--{name}={value}", f"{name}: {value}", f"{name} = '{value}'"):
        assert mask(text) == text
        assert mask_argv([text]) == (text,)


def test_numbers_and_switches_are_kept_whatever_they_are_called() -> None:
    for text in ("max_tokens=512", "private: true", "auth=None", "token = 7"):
        assert mask(text) == text


def test_expressions_of_code_are_kept_and_literals_of_code_are_masked() -> None:
    code = "token = read_token()\npassword: str = 'hunter2hunter2'\nconnect(api_key=key, secret=os.environ['S'])\n"

    masked = mask(code, is_code=True)

    assert masked == code.replace("hunter2hunter2", MASK)


def test_a_secret_with_blanks_is_masked_to_the_end_of_its_line() -> None:
    assert mask("port: 3\npassword: correct horse battery\nuser: x") == f"port: 3\npassword: {MASK}\nuser: x"


def test_a_password_in_a_url_is_masked_and_the_rest_of_the_url_kept() -> None:
    assert mask("postgresql://me:p@ss:w0rd@db.host:5432/runs") == f"postgresql://{MASK}@db.host:5432/runs"


@pytest.mark.parametrize(
    ("url", "stripped"),
    [
        ("https://user:" + "topsecret@example.org/team/repo.git", "https://example.org/team/repo.git"),
        ("https://" + "topsecret@example.org/team/repo.git", "https://example.org/team/repo.git"),
        ("git@example.org:team/repo.git", "git@example.org:team/repo.git"),
        ("ssh://git:topsecret@example.org/repo", "ssh://example.org/repo"),
        ("https://example.org/r.git?private_token=topsecret", "https://example.org/r.git"),
        ("/srv/git/repo.git", "/srv/git/repo.git"),
    ],
)
def test_a_remote_keeps_its_place_and_loses_its_credentials(url: str, stripped: str) -> None:
    assert strip_credentials(url) == stripped


@given(secret=st.sampled_from(SHAPED), name=st.from_regex(r"[A-Z]{1,6}(_[A-Z]{1,8}){0,2}", fullmatch=True))
def test_no_secret_comes_out_of_the_environment(secret: str, name: str) -> None:
    environ = {name: secret, f"OMP_{name}": secret, "CUDA_API_KEY": "plainlooking", "OMP_NUM_THREADS": "2", "MY_PASSWORD": "hunter2"}

    kept = allowed_variables(environ)

    assert secret not in str(kept)
    assert "plainlooking" not in str(kept)
    assert "hunter2" not in str(kept)
    assert kept["OMP_NUM_THREADS"] == "2"


def test_variables_beyond_the_allow_list_are_left_out() -> None:
    assert allowed_variables({"HOME": "/home/x", "STRATAL_STORE": "postgresql://a:b@c/d", "CUDA_VISIBLE_DEVICES": "0,1"}) == {
        "CUDA_VISIBLE_DEVICES": "0,1"
    }


def test_files_that_hold_secrets_are_known_by_their_names() -> None:
    secret = [
        ".env",
        ".env.local",
        "prod.env",
        "a/b/key.pem",
        "id_rsa",
        "id_ed25519.pub",
        ".netrc",
        ".pypirc",
        "credentials.json",
        "aws-credentials",
        "secrets.yaml",
    ]
    harmless = ["train.py", "config.yaml", "environment.yml", "keys.txt", "secrets.py", "identity.toml"]

    assert [name for name in secret if not is_secret_file(name)] == []
    assert [name for name in harmless if is_secret_file(name)] == []


def test_names_are_read_by_their_words() -> None:
    assert [name for name in SECRET_NAMES if not is_secret_name(name)] == []
    assert [name for name in OPEN_NAMES if is_secret_name(name)] == []


def test_a_list_of_packages_is_masked_by_shapes_alone() -> None:
    data = b'{"versions":{"asttokens":"3.0.2"},"direct":{"x":"git+https://me:hunter2@example.invalid/x"}}'
    assert captured("packages.json", data, is_named=False).data == data.replace(b"me:hunter2@", b"<masked>@")
