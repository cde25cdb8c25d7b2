"""`http-request`: a request over HTTP, and what came back."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from django.conf import settings
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import from_json, to_json

from actions import ActionError, Context, action
from actions.builtin import outgoing
from actions.builtin.decoding import decode, is_utf8
from actions.output import ANY_JSON
from actions.problems import printable
from egress import MAX_URL_LENGTH, Answer, BadRequest, check_header
from rest.errors import BadOutput

MAX_HEADERS = 50
MAX_HEADER_NAME_LENGTH = 100
MAX_HEADER_LENGTH = 8_192
MAX_ANSWERED_HEADER_LENGTH = 4_096


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        try:
            check_header(name, value)
        except BadRequest as error:
            raise ValueError(error.message) from None
        if name.lower() == "accept-encoding":
            raise ValueError(f"The header {name} says what Runyard can decompress: leave it out.")
        if len(name) > MAX_HEADER_NAME_LENGTH or len(value) > MAX_HEADER_LENGTH:
            raise ValueError(
                f"A header's name has up to {MAX_HEADER_NAME_LENGTH} characters, its value up to {MAX_HEADER_LENGTH:,}."
            )
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("The same header stands there twice, in different case.")
    return headers


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")  # a mistyped field would be a request without what it was to carry

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    url: str = Field(
        min_length=1,
        max_length=MAX_URL_LENGTH,
        description="Absolute, http or https, without user and password.",
        examples=["https://api.example.org/items?page=2"],
    )
    headers: Annotated[dict[str, str], AfterValidator(_check_headers)] = Field(
        default={},
        max_length=MAX_HEADERS,
        description="They are sent. Like all of the input they are also stored, and shown at /inputs to every key of"
        " the workspace, read-only ones too, and to staff in the admin: credentials as well.",
    )
    json_body: Any = Field(None, alias="json", description="Sent as application/json, unless a header says otherwise.")
    text: str | None = Field(None, description="A body that is no JSON, sent in UTF-8. Give this or json.")

    @model_validator(mode="after")
    def _has_one_body(self) -> Self:
        if self.has_json and self.text is not None:
            raise ValueError("give json or text, not both")
        return self

    @property
    def has_json(self) -> bool:
        """Whether there is a JSON body; it may be null."""
        return "json_body" in self.model_fields_set


class RequestParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    follow_redirects: bool = Field(
        False, description="Follow up to 5 redirects. Without, they are answers like others."
    )
    fail_on_status: bool = Field(False, description="Make a status of 400 or more the error HTTP_STATUS.")
    send_idempotency_key: bool = Field(
        False,
        description="Send an Idempotency-Key that is the same whenever this input of this run is executed again.",
    )
    timeout_s: float = Field(
        30, gt=0, le=60, description="Seconds until the whole answer must be there, redirects included."
    )
    max_bytes: int = Field(
        512 * 1024,
        ge=0,
        le=1024 * 1024,
        description="The size of the largest body that is taken, as it is sent and decompressed.",
    )
    truncate: bool = Field(False, description="Cut off a larger body instead of failing with TOO_LARGE.")


@dataclass
class Response:
    status: int
    reason: str
    headers: Annotated[
        dict[str, str],
        Field(
            description="Names in lower case. Those that came several times are joined with a comma and a space,"
            " set-cookie with line ends."
        ),
    ]
    url: Annotated[str, Field(description="Which URL answered, after redirects.")]
    redirects: Annotated[list[str], Field(description="The URLs that redirected, in order.")]
    kind: Annotated[
        Literal["json", "text", "base64", "empty"], Field(description="Which of the next three holds the body.")
    ]
    json: Annotated[Any, Field(description="The body, where it says that it is JSON, and is.")]
    text: Annotated[str | None, Field(description="The body as text; what its encoding does not know became U+FFFD.")]
    base64: Annotated[str | None, Field(description="The bytes of a body that is no text.")]
    size: Annotated[int, Field(description="Bytes of the body, decompressed, as far as it was taken.")]
    truncated: Annotated[bool, Field(description="Whether there was more of the body than was taken.")]
    elapsed_ms: Annotated[int, Field(description="From the request, names being looked up, to the body's end.")]


@action(
    "http-request",
    title="Make an HTTP request",
    timeout_s=90,
    concurrency=50,
    errors={**outgoing.ERRORS, **outgoing.HTTP_STATUS_ERROR},
)
def http_request(input: Request, *, parameters: RequestParameters, context: Context) -> Response:
    """Send a request and answer status, headers and body, whatever the status.

    The request may be sent more than once if a worker dies in the middle of it: a service that takes an
    Idempotency-Key can be sent one. No cookies are kept, and no credentials are sent that are not in the headers.
    """
    started_at = time.monotonic()
    headers, body = _request(input)
    if parameters.send_idempotency_key:
        _add(headers, "Idempotency-Key", context.idempotency_key)
    answer = outgoing.send(
        input.method,
        input.url,
        context=context,
        timeout_s=parameters.timeout_s,
        max_bytes=parameters.max_bytes,
        headers=headers,
        body=body,
        truncate=parameters.truncate,
        follow_redirects=parameters.follow_redirects,
    )
    if parameters.fail_on_status and answer.status >= 400:
        raise outgoing.status_error(answer)
    elapsed_ms = round((time.monotonic() - started_at) * 1000)
    response = Response(
        status=answer.status,
        reason=printable(answer.reason, 200),
        headers=_headers(answer),
        url=printable(answer.url, MAX_URL_LENGTH),
        redirects=[printable(url, MAX_URL_LENGTH) for url in answer.redirects],
        **_body(answer),
        size=len(answer.body),
        truncated=answer.truncated,
        elapsed_ms=elapsed_ms,
    )
    return _within_limit(response, parameters)


def _request(input: Request) -> tuple[dict[str, str], bytes]:
    headers = dict(input.headers)
    if input.has_json:
        body, content_type = to_json(input.json_body), "application/json"
    elif input.text is not None:
        body, content_type = input.text.encode(), "text/plain; charset=utf-8"
    else:
        return headers, b""
    _add(headers, "Content-Type", content_type)
    return headers, body


def _add(headers: dict[str, str], name: str, value: str) -> None:
    """Add a header, unless it is there in whatever case."""
    if name.lower() not in {given.lower() for given in headers}:
        headers[name] = value


def _headers(answer: Answer) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in answer.headers:
        name = printable(name.lower(), 100)
        # Cookies hold commas, and each is a thing of its own.
        separator = "\n" if name == "set-cookie" else ", "
        joined[name] = joined[name] + separator + value if name in joined else value
    return {name: printable(value, MAX_ANSWERED_HEADER_LENGTH) for name, value in joined.items()}


def _body(answer: Answer) -> dict[str, Any]:
    """Return `kind`, and the body in the field it names."""
    body: dict[str, Any] = {"kind": "empty", "json": None, "text": None, "base64": None}
    if not answer.body:
        return body
    media_type = outgoing.media_type(answer)
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            return body | {"kind": "json", "json": _json(answer.body)}
        except ValueError:  # it is told as what it is: text
            pass
    text = _text(answer, media_type)
    if text is not None:
        return body | {"kind": "text", "text": text}
    return body | {"kind": "base64", "base64": base64.b64encode(answer.body).decode()}


def _json(body: bytes) -> Any:
    """Return a body as JSON.

    Raises:
        ValueError: it is none, or none that an output can be: NUL characters, numbers that no double holds.
    """
    value = from_json(body.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False)
    try:
        ANY_JSON.dump({"json": value}, max_bytes=len(body) * 6 + 100)
    except BadOutput as error:
        raise ValueError(error.message) from error
    return value


def _text(answer: Answer, media_type: str) -> str | None:
    """Return a body as text; None where it is none. JSON has no place for NUL, so what holds one is told in base64."""
    content_type = answer.header("content-type") or ""
    is_markup = media_type.endswith(("html", "xml"))
    says_so = is_markup or media_type.startswith("text/") or "charset=" in content_type.lower()
    if not says_so and not is_utf8(answer.body, answer.truncated):
        return None
    text = decode(answer.body, content_type, may_declare=is_markup, is_cut_off=answer.truncated)
    return None if "\x00" in text else text


def _within_limit(response: Response, parameters: RequestParameters) -> Response:
    """Return a response that an output has room for: quotes, base64 and headers make it larger than its body.

    Raises:
        ActionError: `TOO_LARGE`.
    """
    limit = settings.RUNYARD_MAX_OUTPUT_BYTES
    size = len(to_json(response))
    if size <= limit:
        return response
    raise ActionError(
        "TOO_LARGE",
        f"The answer is {size:,} bytes of JSON, and an output has room for {limit:,}: set max_bytes and truncate.",
        {"bytes": size, "max_bytes": parameters.max_bytes, "max_output_bytes": limit},
    )
