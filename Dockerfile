# Runyard: `docker build -t runyard .` One image for all processes; the word after it says which (see Procfile).
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY requirements.txt ./
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r requirements.txt -c requirements.txt
COPY . .
# The names of servers are for settings that must have some: nothing is connected to.
RUN SECRET_KEY=build DATABASE_URL=postgresql:///build REDIS_URL=redis://build RUNYARD_STATIC_ROOT=/app/static \
    /opt/venv/bin/python manage.py collectstatic --no-input \
    && /opt/venv/bin/python -m compileall -q .

FROM ${PYTHON}
# The user owns nothing but the spool: what callers upload, which may be more than memory should hold.
RUN groupadd --gid 10001 runyard \
    && useradd --uid 10001 --gid runyard --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin runyard \
    && install -d -o runyard -g runyard -m 0700 /var/spool/runyard
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RUNYARD_BIND=0.0.0.0 \
    RUNYARD_STATIC_ROOT=/app/static \
    LOG_FORMAT=json \
    TMPDIR=/var/spool/runyard
WORKDIR /app
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["python", "-m", "config.alive"]
ENTRYPOINT ["/app/deploy/process"]
CMD ["web"]
