# The service's image: `serve` (default), `work`, `migrate` and `backup` run from it. The sandbox and the demo are not in it.
FROM python:3.13-slim AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
COPY bootstrap.lock requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r bootstrap.lock
# What the service depends on, in the versions and with the hashes of the lock; a layer that code changes leave alone.
COPY server/pyproject.toml server/pyproject.toml
RUN uv venv /opt/tollhouse \
    && uv pip install --no-cache --python /opt/tollhouse --constraints requirements.lock -r server/pyproject.toml
COPY server server
RUN uv build --wheel --offline --out-dir dist server \
    && uv pip install --no-cache --python /opt/tollhouse --offline --no-deps dist/*.whl

FROM python:3.13-slim
# pg_dump and pg_restore, for `tollhouse backup`: not older than the server of compose.yaml.
RUN apt-get update -q && apt-get install -y -q --no-install-recommends postgresql-client && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tollhouse \
    && install --directory --owner tollhouse --mode 0700 /backups
COPY --from=build /opt/tollhouse /opt/tollhouse
ENV PATH=/opt/tollhouse/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 APP_HOST=0.0.0.0 APP_HOST_PORT=8900
USER 10001
WORKDIR /tmp
EXPOSE 8900
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --start-interval=1s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"APP_HOST_PORT\"]}/healthz', timeout=2)"]
ENTRYPOINT ["tollhouse"]
CMD ["serve"]
