"""Settings: a pure reading of environment variables, each listed with its default in `.env.example`.

A malformed value stops the start with a message that names the variable.
"""

from pathlib import Path

import environ

from config import admin_theme, database, logging, production
from config.environment import at_least, at_least_or_off, between, factor, flag, one_of, rate, required, web_threads

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

# --- Django ---------------------------------------------------------------------------------------------------

DEBUG = flag("DEBUG", default=False)
SECRET_KEY = required("SECRET_KEY", "a long random text that signs admin sessions; `make run` makes one")
# Earlier values of it: what they signed is still good. A change of the key logs nobody out and ends no paging.
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
AUTH_USER_MODEL = "workspaces.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False
FORMAT_MODULE_PATH = "config.formats"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "django_celery_beat",
    "workspaces",  # its templates and static files go before those of the two below
    "unfold.apps.BasicAppConfig",
    "config.apps.AdminConfig",
    "actions",
    "webhooks",
    "runs",
    "schedules",
    "config",
]

MIDDLEWARE = [
    "rest.request_id.RequestIdMiddleware",
    "rest.security_headers.SecurityHeadersMiddleware",
    "rest.middleware.ErrorBodyMiddleware",
    "config.health.AnyHostMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "telemetry.tracing.TraceMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES: list[dict[str, object]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

LOGIN_REDIRECT_URL = "/admin/"
STATIC_URL = "/static/"
# Where `collectstatic` put them. Without it static files come from the installed packages themselves: no such step
# stands before a first start. Names carry no hash, so that the pages of two versions side by side find theirs.
STATIC_ROOT = env.str("RUNYARD_STATIC_ROOT", default="") or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

UNFOLD = admin_theme.UNFOLD

# Behind a proxy that ends TLS and sets X-Forwarded-Proto itself. Off by default: `make run` speaks plain HTTP.
HTTPS = flag("HTTPS", default=False)
if HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_SSL_REDIRECT = True
    # Pages only: who calls the API without TLS has shown the key already, and would take a redirect for an answer.
    SECURE_REDIRECT_EXEMPT = [r"^v1(/|$)"]
    # Whether hosts below this one, and the lists that browsers are shipped with, are to know of it is not ours to say.
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
    production.check(secret_key=SECRET_KEY, debug=DEBUG, hosts=ALLOWED_HOSTS)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"

# --- Stores ---------------------------------------------------------------------------------------------------

DATABASE_URL = required("DATABASE_URL", "name a PostgreSQL 15+ server, or use `make run`, which starts an embedded one")
REDIS_URL = required(
    "REDIS_URL", "name a Redis 7+ or Valkey 8+ server, or use `make run`, which starts an embedded one"
)

RUNYARD_WEB_THREADS = web_threads()

DATABASES = {"default": database.configure(DATABASE_URL)}
REDIS_CLIENT_URL = REDIS_URL.replace("redis+socket://", "unix://", 1)  # as redis-py spells what Celery takes

# --- REST -----------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["workspaces.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["workspaces.permissions.RoleAndScope"],
    "DEFAULT_THROTTLE_CLASSES": ["workspaces.throttling.RateLimit"],
    "DEFAULT_PARSER_CLASSES": ["rest.json_media.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest.json_media.JSONRenderer"],
    "DEFAULT_FILTER_BACKENDS": [],
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "rest.exception_handler.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_SCHEMA_CLASS": "rest.openapi.ApiSchema",
}
SPECTACULAR_SETTINGS = {
    "OAS_VERSION": "3.1.1",
    "TITLE": "Runyard",
    "VERSION": "1",
    "DESCRIPTION": "Turns Python functions into REST endpoints that run once and now, on 100,000 inputs in the"
    " background, or on a schedule.",
    "SERVERS": [{"url": "/"}],
    "DEFAULT_GENERATOR_CLASS": "config.openapi.Generator",
    "POSTPROCESSING_HOOKS": [],
    "SORT_OPERATIONS": False,  # the map has an order
    "SCHEMA_PATH_PREFIX": "/v1",
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": True, "displayRequestDuration": True},
}

# --- Celery ---------------------------------------------------------------------------------------------------

CELERY_BROKER_URL = REDIS_URL
# A connection for each thread that may ring at once: who finds none free would take the broker for away.
CELERY_BROKER_POOL_LIMIT = RUNYARD_WEB_THREADS
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_keepalive": True, "health_check_interval": 25}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_IMPORTS = ["runs.tasks", "schedules.tasks", "webhooks.tasks", "workspaces.tasks"]
CELERY_TASK_DEFAULT_QUEUE = "runs"
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_EXPIRES = None
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# A process that died leaves no result behind to wait for, and until then its task counts against --disable-prefetch.
CELERY_WORKER_LOST_WAIT = 1.0
CELERY_WORKER_POOL = "config.pool:TaskPool"
# The fences make a double harmless, and a broker that went away is no reason to kill good work.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    # `expire_seconds`: an hour without workers leaves no flood of old ticks behind.
    "Sweep: expired leases, due retries, lost wakes": {
        "task": "runs.sweep",
        "schedule": 1.0,
        "options": {"queue": "system", "expire_seconds": 5},
    },
    "Fire: schedules whose time has come": {
        "task": "schedules.tick",
        "schedule": 1.0,
        "options": {"queue": "system", "expire_seconds": 5},
    },
    "Announce: results and ends that are to be called back": {
        "task": "runs.announce",
        "schedule": 1.0,
        "options": {"queue": "webhooks", "expire_seconds": 2},
    },
    "Forget: idempotency keys older than 24 hours": {
        "task": "workspaces.forget_idempotency_keys",
        "schedule": 10.0,
        "options": {"queue": "system", "expire_seconds": 10},
    },
    "Look: runs that depend on others, should nobody have told them": {
        "task": "runs.look_at_forgotten_dependents",
        "schedule": 60.0,
        "options": {"queue": "system", "expire_seconds": 60},
    },
    "Delete: runs that ended longer ago than they are kept": {
        "task": "runs.prune",
        "schedule": 3.0,
        "options": {"queue": "system", "expire_seconds": 3},
    },
    "Delete: what became of due times longer ago than runs are kept": {
        "task": "schedules.prune",
        "schedule": 10.0,
        "options": {"queue": "system", "expire_seconds": 10},
    },
    "Delete: receivers that were not called for as long as runs are kept": {
        "task": "webhooks.prune",
        "schedule": 60.0,
        "options": {"queue": "system", "expire_seconds": 60},
    },
    "Send: callbacks that are due": {
        "task": "webhooks.send",
        "schedule": 1.0,
        "options": {"queue": "webhooks", "expire_seconds": 5},
    },
    "Sweep callbacks: expired leases, receivers that were forgotten": {
        "task": "webhooks.sweep",
        "schedule": 2.0,
        "options": {"queue": "system", "expire_seconds": 5},
    },
}

# --- Runyard --------------------------------------------------------------------------------------------------

RUNYARD_ACTIONS = env.list("RUNYARD_ACTIONS", default=[])
RUNYARD_CALLBACK_ALLOW_HTTP = flag("RUNYARD_CALLBACK_ALLOW_HTTP", default=False)
RUNYARD_CALLBACK_ALLOW_PRIVATE = flag("RUNYARD_CALLBACK_ALLOW_PRIVATE", default=False)
RUNYARD_ACTIONS_ALLOW_PRIVATE = flag("RUNYARD_ACTIONS_ALLOW_PRIVATE", default=RUNYARD_CALLBACK_ALLOW_PRIVATE)
RUNYARD_CALLBACK_RETRY_SCALE = factor("RUNYARD_CALLBACK_RETRY_SCALE", 1.0)
RUNYARD_CALLBACK_THREADS = at_least("RUNYARD_CALLBACK_THREADS", 64)
RUNYARD_RETENTION_DAYS = at_least_or_off("RUNYARD_RETENTION_DAYS", 30)
RUNYARD_LEASE_SECONDS = at_least("RUNYARD_LEASE_SECONDS", 15, minimum=2)

RUNYARD_PROXIES = at_least("RUNYARD_PROXIES", 1 if HTTPS else 0, minimum=0)
RUNYARD_RATE_LIMIT = rate("RUNYARD_RATE_LIMIT", "600/m")
# Callers that wait for a live call hold a web thread each: the other half of the threads is for everybody else.
HALF_OF_THE_THREADS = max(1, RUNYARD_WEB_THREADS // 2)
RUNYARD_MAX_LIVE_CALLS = between("RUNYARD_MAX_LIVE_CALLS", HALF_OF_THE_THREADS, 1, HALF_OF_THE_THREADS)
# A quarter is left to others, whoever has slow calls.
THREE_QUARTERS_OF_THEM = max(1, RUNYARD_MAX_LIVE_CALLS * 3 // 4)
RUNYARD_MAX_LIVE_CALLS_PER_WORKSPACE = between(
    "RUNYARD_MAX_LIVE_CALLS_PER_WORKSPACE", THREE_QUARTERS_OF_THEM, 1, RUNYARD_MAX_LIVE_CALLS
)
RUNYARD_LIVE_WAIT_SECONDS = at_least("RUNYARD_LIVE_WAIT_SECONDS", 15)

RUNYARD_MAX_BODY_BYTES = at_least("RUNYARD_MAX_BODY_BYTES", 64 * 1024 * 1024)
RUNYARD_MAX_BODY_NODES = at_least("RUNYARD_MAX_BODY_NODES", 2_000_000)
RUNYARD_MAX_LARGE_BODIES = at_least("RUNYARD_MAX_LARGE_BODIES", 2)
RUNYARD_MAX_INPUTS = at_least("RUNYARD_MAX_INPUTS", 100_000)
RUNYARD_MAX_INPUT_BYTES = at_least("RUNYARD_MAX_INPUT_BYTES", 256 * 1024)
RUNYARD_MAX_CUSTOM_DATA_BYTES = at_least("RUNYARD_MAX_CUSTOM_DATA_BYTES", 4 * 1024)
RUNYARD_MAX_PARAMETERS_BYTES = at_least("RUNYARD_MAX_PARAMETERS_BYTES", 256 * 1024)
RUNYARD_MAX_OUTPUT_BYTES = at_least("RUNYARD_MAX_OUTPUT_BYTES", 1024 * 1024)
RUNYARD_MAX_OUTPUTS_PER_INPUT = at_least("RUNYARD_MAX_OUTPUTS_PER_INPUT", 10_000)
RUNYARD_MAX_OUTPUT_BYTES_PER_INPUT = at_least("RUNYARD_MAX_OUTPUT_BYTES_PER_INPUT", 16 * 1024 * 1024)
RUNYARD_MAX_CALLBACK_HEADERS = at_least("RUNYARD_MAX_CALLBACK_HEADERS", 20)
RUNYARD_MAX_CALLBACK_HEADER_BYTES = at_least("RUNYARD_MAX_CALLBACK_HEADER_BYTES", 8 * 1024)
RUNYARD_MAX_UNFINISHED_RUNS = at_least("RUNYARD_MAX_UNFINISHED_RUNS", 10_000)
RUNYARD_MAX_SCHEDULES = at_least("RUNYARD_MAX_SCHEDULES", 10_000)
RUNYARD_MAX_CONSECUTIVE_FAILURES = at_least_or_off("RUNYARD_MAX_CONSECUTIVE_FAILURES", 100)
RUNYARD_MAX_STORED_BYTES = at_least_or_off("RUNYARD_MAX_STORED_BYTES", "off")
RUNYARD_MAX_API_KEYS = at_least("RUNYARD_MAX_API_KEYS", 1_000)

# Of the admin's forms: the API's bodies are read by rest.body, which holds limits of its own.
FILE_UPLOAD_HANDLERS = [
    "rest.form_uploads.UploadLimit",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]

# --- Logging --------------------------------------------------------------------------------------------------

LOGGING = logging.configure(
    level=one_of("LOG_LEVEL", default="INFO", choices=logging.LEVELS),
    form=one_of("LOG_FORMAT", default="console", choices=logging.FORMS),
)
