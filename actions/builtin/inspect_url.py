"""`inspect-url`: what a URL says about itself, without fetching it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from actions import action
from actions.builtin.url_host import HostKind
from actions.builtin.url_parts import Pair, UrlParts, split_url

Kind = Literal[
    "home_page", "page", "api", "feed", "image", "video", "audio", "document", "data", "archive", "code", "font",
    "directory", "file", "websocket",
]  # fmt: skip

EXTENSIONS: dict[Kind, str] = {
    "page": "html htm xhtml shtml php php3 phtml asp aspx jsp jspx jsf do cgi cfm pl",
    "feed": "rss atom",
    "image": "png jpg jpeg gif webp avif svg ico bmp tif tiff heic",
    "video": "mp4 m4v webm mkv mov avi mpg mpeg ogv m3u8",
    "audio": "mp3 m4a ogg oga opus wav flac aac",
    "document": "pdf doc docx odt rtf xls xlsx ods ppt pptx odp epub txt md ps djvu",
    "data": "json jsonl ndjson xml csv tsv yaml yml toml sql sqlite parquet geojson ics",
    "archive": "zip tar gz tgz bz2 xz zst 7z rar jar whl deb rpm apk dmg iso exe msi",
    "code": "js mjs css ts wasm py rb go rs c h cpp java sh patch diff",
    "font": "woff woff2 ttf otf eot",
}
KIND_OF_EXTENSION: dict[str, Kind] = {
    extension: kind for kind, extensions in EXTENSIONS.items() for extension in extensions.split()
}
FEED_SEGMENTS = frozenset({"feed", "feeds", "rss", "atom", "rss.xml", "atom.xml", "feed.xml", "index.rdf"})
API_SEGMENTS = frozenset({"api", "graphql", "rest", "rpc"})
HOME_PAGES = frozenset({"/", "/index.html", "/index.htm", "/index.php"})

TRACKING_PREFIXES = ("utm_", "mtm_", "hsa_", "__hs")
TRACKING = {
    "Adobe": "s_cid",
    "Google": "gclid gclsrc dclid gbraid wbraid gad_source gad_campaignid srsltid _ga _gl",
    "HubSpot": "_hsenc _hsmi hsctatracking",
    "Instagram": "igshid igsh",
    "Klaviyo": "_kx",
    "LinkedIn": "li_fat_id",
    "Mailchimp": "mc_cid mc_eid mc_tc",
    "Marketo": "mkt_tok",
    "Matomo": "pk_campaign pk_kwd pk_keyword pk_source pk_medium pk_content piwik_campaign piwik_kwd",
    "Meta": "fbclid fb_action_ids fb_action_types fb_source",
    "Microsoft": "msclkid",
    "Omeda": "oly_anon_id oly_enc_id",
    "Pinterest": "epik",
    "Snapchat": "sccid",
    "TikTok": "ttclid",
    "Vero": "vero_id vero_conv",
    "Wicked Reports": "wickedid",
    "X": "twclid",
    "Yandex": "yclid ysclid _openstat",
}
TRACKING_NAMES = frozenset(name for names in TRACKING.values() for name in names.split())


class Url(BaseModel):
    url: str = Field(description="An absolute URL: http, https, ftp, ws or wss.", examples=["https://example.org/"])


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    strip_tracking: bool = Field(True, description="Leave tracking parameters out of the normalised URL.")
    strip_fragment: bool = Field(False, description="Leave the fragment out of the normalised URL.")


class QueryParameter(BaseModel):
    name: str
    value: str | None = Field(description="Decoded; null where there is no equals sign.")


class InspectedUrl(BaseModel):
    url: str = Field(description="The URL in normal form, without credentials.")
    is_normal: bool = Field(description="Whether the URL was written that way already.")
    scheme: str
    host: str = Field(description="As it goes over the wire: punycode for international names, no brackets.")
    host_unicode: str = Field(description="As people read it.")
    host_kind: HostKind
    is_public_address: bool | None = Field(
        description="Whether an address can be reached over the internet; null for names, which were not looked up."
    )
    zone: str | None = Field(description="The interface that a link-local IPv6 address belongs to.")
    port: int
    is_default_port: bool
    path: str = Field(description="Percent-encoded, without dot segments.")
    extension: str | None = Field(description="Of the last part of the path, in lower case.")
    query: list[QueryParameter] = Field(description="In order, decoded; without what was stripped.")
    fragment: str | None
    tracking_parameters: list[str] = Field(description="Names of the tracking parameters found, in order.")
    has_credentials: bool = Field(description="Whether a user name or password was in it. Neither is repeated.")
    kind: Kind = Field(description="What is likely to be there, guessed from the URL alone.")


@action(
    "inspect-url",
    title="Inspect a URL",
    timeout_s=5,
    errors={
        "NOT_ABSOLUTE": "The URL has no scheme, or no // after it.",
        "UNSUPPORTED_SCHEME": "The scheme is none of http, https, ftp, ws, wss.",
        "BAD_HOST": "The host is missing, or neither a name nor an address.",
        "BAD_PORT": "The port is not a number from 0 to 65535.",
    },
)
def inspect_url(input: Url, *, parameters: Options) -> InspectedUrl:
    """Parse, normalise and classify a URL. Nothing is fetched or looked up.

    The normal form is that of RFC 3986 section 6: two URLs with the same one mean the same resource. Inspecting a
    normalised URL gives it again.
    """
    parts = split_url(input.url)
    tracking = [pair for pair in parts.pairs if _is_tracking(pair)]
    if tracking and parameters.strip_tracking:
        parts = parts.without(tracking)
    if parts.fragment and parameters.strip_fragment:
        parts = replace(parts, fragment=None)
    url = parts.to_url()
    extension = _extension(parts.path)
    return InspectedUrl(
        url=url,
        is_normal=url == input.url,
        scheme=parts.scheme,
        host=parts.host.ascii,
        host_unicode=parts.host.unicode,
        host_kind=parts.host.kind,
        is_public_address=parts.host.is_public,
        zone=parts.host.zone,
        port=parts.port,
        is_default_port=parts.is_default_port,
        path=parts.path,
        extension=extension,
        query=[QueryParameter(name=pair.name, value=pair.value) for pair in parts.pairs if pair.text],
        fragment=parts.fragment,
        tracking_parameters=[pair.name for pair in tracking],
        has_credentials=parts.has_credentials,
        kind=_kind(parts, extension),
    )


def _is_tracking(pair: Pair) -> bool:
    name = pair.name.lower()
    return name in TRACKING_NAMES or name.startswith(TRACKING_PREFIXES)


def _extension(path: str) -> str | None:
    _, dot, extension = path.rpartition("/")[2].rpartition(".")
    is_one = (
        dot and 1 <= len(extension) <= 8 and extension.isascii() and extension.isalnum() and not extension.isdigit()
    )
    return extension.lower() if is_one else None


def _kind(parts: UrlParts, extension: str | None) -> Kind:
    if parts.scheme in ("ws", "wss"):
        return "websocket"
    segments = parts.path.lower().split("/")
    if segments[-1] in FEED_SEGMENTS or (segments[-1] == "" and segments[-2] in FEED_SEGMENTS):
        return "feed"
    if extension and extension in KIND_OF_EXTENSION and parts.path not in HOME_PAGES:
        return KIND_OF_EXTENSION[extension]
    if parts.scheme == "ftp":
        return "directory" if segments[-1] == "" else "file"
    if parts.host.ascii.startswith("api.") or not API_SEGMENTS.isdisjoint(segments):
        return "api"
    return "home_page" if parts.path in HOME_PAGES and not parts.pairs else "page"
